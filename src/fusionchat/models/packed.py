"""Which models are not ordinary folders of plain weights, and whether they can be unpacked."""

from fusionchat.errors import ModelError
from fusionchat.models.quantization import can_be_plain, describe, held_quantization
from fusionchat.models.ref import ModelRef


def packed(ref: ModelRef) -> bool:
    """Whether a model's weights have to be unpacked before a training or a merge can read them."""
    return ref.place.file is not None or ref.adapter is not None or held_quantization(ref) is not None


def require_unpackable(ref: ModelRef) -> None:
    """Raise ModelError if a pivot is quantized in a way that transformers cannot undo."""
    held = held_quantization(ref)
    if held is not None and not can_be_plain(held):
        raise ModelError(
            f"The pivot is quantized with {describe(held)}, which transformers cannot dequantize; training needs plain weights",
            where=ref.model,
            do="use the model that it was quantized from as pivot; a source may be quantized",
        )
