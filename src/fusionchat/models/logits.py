# N rows, H hidden size, V vocabulary
"""From hidden states to logits: the head's product with fp32 output, and what some structures do to it after. PURE."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MIXED = ("cuda",)
"""Kinds of device that multiply half-precision matrices into an fp32 result."""


@dataclass(frozen=True)
class HeadShape:
    """What happens to the logits after the linear map: z = softcap * tanh(scale * x / softcap), softcap 0 for none."""

    scale: float = 1.0
    softcap: float = 0.0

    def apply(self, logits: Tensor) -> Tensor:
        """The model's logits from the linear map's output (any shape, fp32)."""
        logits = logits * self.scale if self.scale != 1.0 else logits
        return torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits

    def slope(self, shaped: Tensor) -> Tensor | float | None:
        """dz/dx at the shaped logits z; None where it is 1."""
        if self.softcap:
            return self.scale * (1 - (shaped / self.softcap) ** 2)
        return None if self.scale == 1.0 else self.scale


PLAIN = HeadShape()
"""The logits are the linear map's output."""


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of logits and sums for hidden states of ``dtype``: fp64 for fp64, fp32 for all others."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def operand(weight_VH: Float[Tensor, "V H"], dtype: torch.dtype) -> Float[Tensor, "V H"]:
    """The head's weight as `product` takes it for hidden states of ``dtype``: converted once, not once a chunk."""
    rounded = weight_VH.to(dtype)
    return rounded if rounded.device.type in MIXED else rounded.to(wide(dtype))


def product(hidden_NH: Float[Tensor, "N H"], operand_VH: Float[Tensor, "V H"]) -> Float[Tensor, "N V"]:
    """x W^T in fp32 (fp64 for an fp64 operand): products and sums are fp32, and the result is never rounded to bf16.

    A bf16 result has 8 bits: logits near 20 move by up to 0.06, which costs 4e-4 nats of KL divergence a row.
    """
    if operand_VH.dtype == wide(operand_VH.dtype):
        return torch.nn.functional.linear(hidden_NH.to(operand_VH.dtype), operand_VH)
    return torch.mm(hidden_NH.to(operand_VH.dtype), operand_VH.T, out_dtype=torch.float32)  # type: ignore[call-overload,no-any-return]
