# N rows, H hidden size, V vocabulary, T tokens of a tile, M rows of a tile
"""Logits in fp32 from hidden states, scaled and capped as some structures do. PURE."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fusionchat.models.onednn import linear

MIXED = ("cuda",)
"""Kinds of device that multiply half-precision matrices into an fp32 result."""
TILE_TOKENS, TILE_ROWS = 2048, 512
"""The size of a CPU's tile: 4 MiB of logits, and 4 MiB of a weight, fit in the L2 and L3 cache.

Measured with an AVX-512 processor, one core, in us a row at V = 49,152 and H = 576, processor time, least of
six (fp32; bf16 inputs with fp32 output): 512 x 2,048 take 536 and 245; 128 x 4,096 take 587 and 267; 1,024 x
1,024 take 241 for bf16. The size hardly matters. What matters is that the weight is read once for many rows,
and the buffer reused.
"""
DEVICE_ELEMENTS = 2**26
"""Logits in memory at once on other devices: 256 MiB."""


@dataclass(frozen=True)
class HeadShape:
    """How logits change after the linear map: z = softcap * tanh(scale * x / softcap).

    A softcap of 0 means none.
    """

    scale: float = 1.0
    softcap: float = 0.0

    def apply(self, logits: Tensor) -> Tensor:
        """The model's logits from the linear map's output (any shape, fp32)."""
        logits = logits * self.scale if self.scale != 1.0 else logits
        return torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits

    def apply_(self, logits: Tensor) -> Tensor:
        """`apply` in place, with the same bits."""
        if self.scale != 1.0:
            logits *= self.scale
        return logits.div_(self.softcap).tanh_().mul_(self.softcap) if self.softcap else logits

    def slope(self, shaped: Tensor) -> Tensor | float | None:
        """dz/dx at the shaped logits z; None if it is 1."""
        if self.softcap:
            return self.scale * (1 - (shaped / self.softcap) ** 2)
        return None if self.scale == 1.0 else self.scale


PLAIN = HeadShape()
"""The logits are the linear map's output."""


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of logits and sums for hidden states of ``dtype``: fp64 for fp64, fp32 for all others."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def operand(weight_VH: Float[Tensor, "V H"], dtype: torch.dtype) -> Float[Tensor, "V H"]:
    """The head's weight as `product` takes it for states of ``dtype``: converted once, not per chunk."""
    rounded = weight_VH.to(dtype)
    return rounded if rounded.device.type in MIXED else rounded.to(wide(dtype))


def product(hidden_NH: Float[Tensor, "N H"], operand_VH: Float[Tensor, "V H"]) -> Float[Tensor, "N V"]:
    """x W^T in fp32 (fp64 for an fp64 operand); the result is never rounded to bf16.

    Products and sums are fp32.

    A bf16 result has 8 bits: logits near 20 move by up to 0.06, which costs 4e-4 nats of KL divergence a row.
    """
    if operand_VH.dtype == wide(operand_VH.dtype):
        return torch.nn.functional.linear(hidden_NH.to(operand_VH.dtype), operand_VH)
    return torch.mm(hidden_NH.to(operand_VH.dtype), operand_VH.T, out_dtype=torch.float32)  # type: ignore[call-overload,no-any-return]


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether this machine's CPU has instructions that multiply bfloat16 matrices (AMX, AVX-512 BF16)."""
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


class Tile(NamedTuple):
    """The logits of some rows for some tokens.

    Attributes:
        row: The first row.
        token: The first token.
        logits: fp32 [M, T]; overwritten when the next tile is asked for.
    """

    row: int
    token: int
    logits: Float[Tensor, "M T"]


def tiles(
    hidden_NH: Float[Tensor, "N H"],
    weight_VH: Float[Tensor, "V H"],
    bias_V: Float[Tensor, " V"] | None,
    shape: HeadShape,
    by_onednn: bool = False,
) -> Iterator[Tile]:
    """fp32 logits of hidden states, a part at a time; for every row the tokens come in ascending order.

    On a CPU a tile stays in the cache, and of a half-precision weight only a tile's part is ever converted,
    once for all rows. On other devices a tile has all tokens of a row. No gradient flows through.

    Args:
        hidden_NH: Hidden states.
        weight_VH: The head's weight.
        bias_V: The head's bias.
        shape: How the logits are scaled and capped after the linear map.
        by_onednn: Whether a CPU's float32 products are oneDNN's; see `fusionchat.models.onednn`.
    """
    weight_VH, hidden_NH = weight_VH.detach(), hidden_NH.detach()
    bias_V = None if bias_V is None else bias_V.detach()
    # 1. a device other than a CPU: whole rows, as many as fit DEVICE_ELEMENTS
    if weight_VH.device.type != "cpu":
        held = operand(weight_VH, weight_VH.dtype)
        count = max(1, DEVICE_ELEMENTS // len(weight_VH))
        for row in range(0, max(1, len(hidden_NH)), count):
            logits = product(hidden_NH[row : row + count], held)
            yield Tile(row, 0, shape.apply(logits if bias_V is None else logits + bias_V.to(logits.dtype)))
        return
    # 2. a CPU: one buffer of a tile, and one for a tile's part of a half-precision weight
    dtype = wide(weight_VH.dtype)
    hidden = hidden_NH.to(dtype)
    half = weight_VH.dtype == hidden_NH.dtype == torch.bfloat16 and cpu_multiplies_bf16()
    rows, width = min(TILE_ROWS, max(1, len(hidden))), min(TILE_TOKENS, len(weight_VH))
    room = hidden.new_empty(rows * width)
    held = weight_VH if weight_VH.dtype == dtype else hidden.new_empty(width, weight_VH.shape[1])
    # 3. tokens outside, so that each part of the weight is read and converted once: x = h W^T + b, then z(x)
    for token in range(0, len(weight_VH), width):
        part = weight_VH[token : token + width]
        part = part if weight_VH.dtype == dtype else held[: len(part)].copy_(part)
        for row in range(0, len(hidden), rows):
            some = hidden[row : row + rows]
            if by_onednn and weight_VH.dtype == torch.float32:
                logits = linear(some, part)
            else:
                logits = room[: len(some) * len(part)].view(len(some), len(part))
                with _exact_in_bf16(half):
                    torch.mm(some, part.T, out=logits)
            if bias_V is not None:
                logits += bias_V[token : token + width]
            yield Tile(row, token, shape.apply_(logits))


@contextmanager
def _exact_in_bf16(half: bool) -> Iterator[None]:
    """Let fp32 products on a CPU round their inputs to bf16 in this context.

    Inputs that came from bf16 do not change.

    Products and sums stay fp32: the error is that of an fp32 product (1.5e-6 of the largest logit), and a
    processor with AMX or AVX-512 BF16 needs two to seven times less time. The setting is global, so it is
    restored.
    """
    if not half:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
