"""Access to weights that accelerate keeps on another device or on the disk.

accelerate attaches a hook to every module that it places: `execution_device` is where the module computes,
and with `offload` the weights are there only between `pre_forward` and `post_forward` (accelerate 1.15,
hooks.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Lent(NamedTuple):
    """A linear map's weight and bias on the device that computes it."""

    weight: Tensor
    bias: Tensor | None


class Hook(Protocol):
    """The part of accelerate's hooks that is used here."""

    execution_device: int | str | torch.device | None
    offload: bool

    def pre_forward(self, module: nn.Module) -> object:
        """Bring the weights to the device that computes."""
        ...

    def post_forward(self, module: nn.Module, output: None) -> object:
        """Move them away again."""
        ...


def hook_of(module: nn.Module) -> Hook | None:
    """The hook with which accelerate places a module; None if it does not."""
    found = getattr(module, "_hf_hook", None)
    hooks = getattr(found, "hooks", (found,))
    return next((hook for hook in hooks if hasattr(hook, "execution_device")), None)


def device_of(module: nn.Module) -> torch.device:
    """The device on which a module computes, wherever its weight is."""
    place = getattr(hook_of(module), "execution_device", None)
    return module.get_parameter("weight").device if place is None else torch.device(place)


def input_device(model: "PreTrainedModel") -> torch.device:
    """The device of a model's token ids."""
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, nn.Module)
    return device_of(embeddings)


@contextmanager
def lent(linear: nn.Linear) -> Iterator[Lent]:
    """A linear map's weight and bias on the device where it computes, within this context."""
    hook = hook_of(linear)
    if hook is None or not hook.offload:
        yield Lent(linear.weight, linear.bias)
        return
    hook.pre_forward(linear)
    try:
        yield Lent(linear.weight, linear.bias)
    finally:
        hook.post_forward(linear, None)


def is_placed(model: nn.Module) -> bool:
    """Whether a model is placed for good, spread or quantized, so that `to` would refuse or undo that."""
    return (
        getattr(model, "hf_device_map", None) is not None or getattr(model, "hf_quantizer", None) is not None
    )
