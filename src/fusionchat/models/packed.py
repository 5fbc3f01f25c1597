"""Which models are no ordinary folders of plain weights, and what that means for them."""

from fusionchat.models.ref import ModelRef


def packed(ref: ModelRef) -> bool:
    """Whether a model's weights have to be unpacked before a training or a merge can read them."""
    return ref.place.file is not None
