"""Weights that accelerate keeps on another device or on the disk, while they are needed.

accelerate hangs a hook on every module that it places: its `execution_device` is where the module computes, and where
`offload` is set, the weights are there only between `pre_forward` and `post_forward` (accelerate 1.15, hooks.py).
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
    """What is used of accelerate's hooks."""

    execution_device: int | str | torch.device | None
    offload: bool

    def pre_forward(self, module: nn.Module) -> object:
        """Bring the weights to where they are computed."""
        ...

    def post_forward(self, module: nn.Module, output: None) -> object:
        """Take them away again."""
        ...


def hook_of(module: nn.Module) -> Hook | None:
    """The hook with which accelerate places a module, None where it does not."""
    found = getattr(module, "_hf_hook", None)
    hooks = getattr(found, "hooks", (found,))
    return next((hook for hook in hooks if hasattr(hook, "execution_device")), None)


def device_of(module: nn.Module) -> torch.device:
    """Where a module with a weight computes, wherever its weight is."""
    place = getattr(hook_of(module), "execution_device", None)
    return module.get_parameter("weight").device if place is None else torch.device(place)


def input_device(model: "PreTrainedModel") -> torch.device:
    """Where a model's token ids go."""
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, nn.Module)
    return device_of(embeddings)


@contextmanager
def lent(linear: nn.Linear) -> Iterator[Lent]:
    """A linear map's weight and bias where it computes, for as long as they are needed."""
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
    """Whether a model is where its opening has put it, and `to` would refuse or undo that: spread, or quantized."""
    return (
        getattr(model, "hf_device_map", None) is not None or getattr(model, "hf_quantizer", None) is not None
    )
