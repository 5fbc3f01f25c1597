"""Whether a model can be loaded as the recipe says, from configurations and headers.

This is checked before anything runs.
"""

from contextlib import closing

from fusionchat.errors import MergeError, ModelError
from fusionchat.hub import cached_folder, here
from fusionchat.merge.inputs.adapters.lora import open_adapter
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.models.adapter import require_base
from fusionchat.models.gguf import require_readable
from fusionchat.models.opening import Opening
from fusionchat.models.own_code import require_pinned
from fusionchat.models.packed import require_unpackable
from fusionchat.models.quantization import configured, held_quantization
from fusionchat.models.ref import ModelRef


def require_openable(ref: ModelRef, opening: Opening) -> None:
    """Check how a model is to be loaded, as far as its files are on this machine.

    Raises:
        ModelError: transformers cannot read a GGUF file, a quantization method or setting is unknown, a pivot
            cannot be unpacked, own code is not pinned, or an adapter has another base.
    """
    path = here(ref.place)
    if path is not None:
        require_readable(path)
    if ref.own_code:
        require_pinned(ref.place, ref.where)
        require_pinned(ref.tokenizer_place, ref.where)
    if opening.quantization is not None:
        place = f"{ref.where}.capture.quantization"
        configured(opening.quantization, dtype="bfloat16", where=place)
    if ref.name == "pivot":
        require_unpackable(ref)
    require_base(ref)
    require_fitting(ref)


def require_fitting(ref: ModelRef) -> None:
    """Raise ModelError if an adapter's tensors do not fit its model's shapes.

    Both must be on this machine and in safetensors.
    """
    place, folder = ref.adapter_place, cached_folder(ref.place)
    adapter = None if place is None else cached_folder(place)
    if adapter is None or folder is None or ref.place.file is not None or held_quantization(ref) is not None:
        return
    try:
        with closing(open_checkpoint(folder, allow_pickle=True)) as base:
            for file in open_adapter(adapter, base, allow_pickle=True).files:
                file.close()
    except MergeError as error:
        raise ModelError(
            f"The adapter of {ref.name!r} does not fit its model: {error.what[0].lower()}{error.what[1:]}",
            where=error.where or str(adapter),
            do=error.do or "use the model that it was trained on",
        ) from error
