"""A model whose matrices are trained in bf16.

What a weight lacks of fp32 is stored beside it, or lost to random rounding:

    kahan        weight (bf16) + compensation (16 bits): 4 bytes, as exact as fp32 up to its last bit
    stochastic   weight (bf16) alone: 2 bytes, right on average

Both round at random in every step, so that passes see changes smaller than a step of bf16
(`fusionchat.distill.rounding`). A compensation in bf16, as in Kahan's summation, would have only 8 of these
16 bits. Vectors (norms, biases) stay in fp32.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int16
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from fusionchat.distill.precision import Bf16Weights, Precision, compensation
from fusionchat.distill.rounding import draws, joined, parted


class Narrow(NamedTuple):
    """A matrix in bf16, and its compensation, if it has one."""

    weight: nn.Parameter
    rest: Int16[Tensor, " N"] | None

    def wide(self) -> Float32[Tensor, "..."]:
        """The weight in fp32, with its compensation."""
        flat = self.weight.detach().view(-1)
        return (flat.float() if self.rest is None else joined(flat, self.rest)).view(self.weight.shape)

    def take(self, wide: Float32[Tensor, "..."], generator: torch.Generator) -> float:
        """Store an fp32 weight, which is overwritten; returns the sum of squares of what is lost."""
        upper, rest = parted(wide.view(-1), generator)
        self.weight.detach().copy_(upper.view(wide.shape))
        if self.rest is not None:
            self.rest.copy_(rest)
            return 0.0
        return lost(upper, rest)


class NarrowModel:
    """A model with bf16 matrices between `of` and `widen`, and fp32 ones before and after.

    Attributes:
        parts: Each matrix, by its parameter.
        seed: The seed of the rounding.
        lost: Sum of squares of all that rounding took from a weight, or added to it, since the pivot.
    """

    def __init__(
        self, parts: dict[nn.Parameter, Narrow], seed: int, lost: float, hook: RemovableHandle
    ) -> None:
        self.parts, self.seed, self.lost, self._hook = parts, seed, lost, hook

    @property
    def noise(self) -> float:
        """Root mean square of what rounding added to the change of a weight.

        The draws are independent of each other, so the squares add up.
        """
        return (self.lost / max(sum(weight.numel() for weight in self.parts), 1)) ** 0.5

    @classmethod
    def of(cls, model: PreTrainedModel, *, compensated: bool, seed: int) -> "NarrowModel":
        """Replace a model's trained fp32 matrices by bf16, in place; returns the object that tracks them.

        The sum of embeddings and layers stays in fp32.
        """
        parts, gone = dict[nn.Parameter, Narrow](), 0.0
        for number, weight in enumerate(matrices(model)):
            upper, rest = parted(weight.detach().view(-1), draws(seed, 0, number, weight.device))
            weight.data = upper.view(weight.shape)
            gone += 0.0 if compensated else lost(upper, rest)
            parts[weight] = Narrow(weight, rest if compensated else None)
        hook = model.get_input_embeddings().register_forward_hook(lambda module, inputs, found: found.float())
        return cls(parts, seed, gone, hook)

    def widen(self) -> None:
        """Make the model's matrices fp32 again, with their compensations, which are freed one by one."""
        self._hook.remove()
        while self.parts:
            weight, narrow = self.parts.popitem()
            weight.data = narrow.wide()

    def take(self, number: int, narrow: Narrow, wide: Float32[Tensor, "..."], step: int) -> None:
        """Store the fp32 result of a step in a matrix."""
        self.lost += narrow.take(wide, draws(self.seed, step, number, wide.device))


def lost(upper: Tensor, rest: Tensor) -> float:
    """Sum of squares of what bf16 weights lack of the fp32 weights that `parted` split."""
    return float((joined(upper, rest) - upper.float()).square_().sum(dtype=torch.float64))


def matrices(model: nn.Module) -> Iterator[nn.Parameter]:
    """The trained fp32 parameters that are not vectors."""
    return (p for p in model.parameters() if p.requires_grad and p.dtype == torch.float32 and p.dim() > 1)


def narrowed(model: PreTrainedModel, precision: Precision, *, seed: int) -> NarrowModel | None:
    """The model with bf16 matrices where the precision asks for them, else None."""
    if not isinstance(precision, Bf16Weights):
        return None
    return NarrowModel.of(model, compensated=compensation(precision) > 0, seed=seed)
