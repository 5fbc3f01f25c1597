"""Weights on the bf16 grid, rounded at random and right on average; and back, bit for bit. PURE.

A bf16 number is the upper half of an fp32 number. Rounded to nearest, a weight of a model published in bf16
stays the pivot's until it has changed by half a step of the grid, 2^-9 to 2^-8 of its size. Few weights
change that much in a fine-tuning, so the passes would still see the pivot. With random rounding they see the
change. The lower half is stored meanwhile.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import BFloat16, Float32, Int16, Int32
from numpy.typing import NDArray
from torch import Tensor

from fusionchat.compiled import njit

BLOCK = 2**18
"""Weights that stay in a core's cache between the steps."""


def draws(seed: int, step: int, part: int, device: torch.device) -> torch.Generator:
    """A generator for one part of a step, seeded by these numbers alone.

    So a resumed training draws the same numbers.
    """
    digest = hashlib.blake2b(f"{seed} {step} {part}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest))


@torch.no_grad()
def round_(weight: Float32[Tensor, " N"], generator: torch.Generator) -> Int16[Tensor, " N"]:
    """Round flat weights to the bf16 grid, in place; returns the lower halves, which `restore_` needs.

    A weight of magnitude h + l (h on the grid, l of 2^16 equal parts up to the next point) becomes the next
    point with probability l / 2^16, else h. The lowest bit records which; rounding to bf16 does not see it.
    """
    low = torch.empty_like(weight, dtype=torch.int16)
    for bits, own in _blocks(weight, low):
        # 16 random bits a weight, four from each number drawn
        drawn = torch.empty(-(-len(bits) // 4), dtype=torch.int64, device=weight.device)
        dice = drawn.random_(-(2**63), None, generator=generator).view(torch.int16)[: len(bits)]
        if bits.is_cpu:
            carry_here(bits.numpy(), dice.numpy(), own.numpy())
        else:
            carry(bits, dice, own)
    return low


@torch.no_grad()
def restore_(weight: Float32[Tensor, " N"], low: Int16[Tensor, " N"]) -> None:
    """Undo `round_`, in place and bit for bit."""
    for bits, own in _blocks(weight, low):
        if bits.is_cpu:
            take_back_here(bits.numpy(), own.numpy())
        else:
            take_back(bits, own)


def _blocks(weight: Tensor, low: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The bits of the weights (int32) and the lower halves, block by block."""
    for start in range(0, weight.numel(), BLOCK):
        yield weight.view(torch.int32)[start : start + BLOCK], low[start : start + BLOCK]


def carry(bits: Int32[Tensor, " B"], dice: Int16[Tensor, " B"], low: Int16[Tensor, " B"]) -> None:
    """Keep the lower halves, and add dice to them: a carry into the upper half has probability l / 2^16."""
    low.copy_(bits)
    made = dice.to(torch.int32).bitwise_and_(0xFFFF).add_(bits).bitwise_and_(-(2**16))
    carried = (made - bits.bitwise_and(-(2**16))).bitwise_right_shift_(16)
    bits.copy_(made.bitwise_or_(carried))


def take_back(bits: Int32[Tensor, " B"], low: Int16[Tensor, " B"]) -> None:
    """Undo `carry`."""
    carried = bits.bitwise_and(1).bitwise_left_shift_(16)
    bits.bitwise_and_(-(2**16)).sub_(carried).bitwise_or_(low.to(torch.int32).bitwise_and_(0xFFFF))


@njit(nogil=True)
def carry_here(bits: NDArray[np.int32], dice: NDArray[np.int16], low: NDArray[np.int16]) -> None:
    """`carry` in one pass over a CPU's memory, which takes a third of the time."""
    for i in range(len(bits)):
        before = np.int64(bits[i])
        made = (before + (np.int64(dice[i]) & 0xFFFF)) & -0x10000
        carried = ((made - (before & -0x10000)) >> 16) & 1
        low[i] = np.int16(before)
        bits[i] = np.int32(made | carried)


@njit(nogil=True)
def take_back_here(bits: NDArray[np.int32], low: NDArray[np.int16]) -> None:
    """`take_back` in one pass over a CPU's memory."""
    for i in range(len(bits)):
        now = np.int64(bits[i])
        upper = (now & -0x10000) - ((now & 1) << 16)
        bits[i] = np.int32(upper | (np.int64(low[i]) & 0xFFFF))


@contextmanager
def on_grid(weights: Sequence[Tensor], *, seed: int, step: int) -> Iterator[None]:
    """Have fp32 weights on the bf16 grid inside the context, and restore them afterwards.

    They must not be changed inside. Weights of another dtype stay as they are, and so do vectors: norms and
    biases are not rounded by autocast either.
    """
    flat = [
        (part, weight.detach().view(-1))
        for part, weight in enumerate(weights)
        if weight.dtype == torch.float32 and weight.dim() > 1
    ]
    low = [round_(weight, draws(seed, step, part, weight.device)) for part, weight in flat]
    try:
        yield
    finally:
        for (_, weight), own in zip(flat, low, strict=True):
            restore_(weight, own)


def parted(
    weight: Float32[Tensor, " N"], generator: torch.Generator
) -> tuple[BFloat16[Tensor, " N"], Int16[Tensor, " N"]]:
    """Flat weights as bf16 numbers, rounded at random, and what these lack; ``weight`` is overwritten.

    What a weight lacks is its lower half, whose lowest bit says instead whether it was rounded up.
    """
    low = round_(weight, generator)
    low.bitwise_and_(-2).bitwise_or_(weight.view(torch.int32).bitwise_and(1).to(torch.int16))
    return weight.bfloat16(), low


@torch.no_grad()
def joined(upper: BFloat16[Tensor, " N"], low: Int16[Tensor, " N"]) -> Float32[Tensor, " N"]:
    """The weights that `parted` split into these, except for their lowest bit, which is 0."""
    weight = upper.float()
    weight.view(torch.int32).bitwise_or_(low.bitwise_and(1))
    restore_(weight, low.bitwise_and(-2))
    return weight
