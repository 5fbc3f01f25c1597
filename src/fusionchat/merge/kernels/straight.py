"""The common case in one pass: bfloat16 files mixed into a bfloat16 result.

It goes span by span, within the first-level cache.

The operations are those of decoding, `measure` and `mix_bf16` block by block, but without blocks: one call
per chunk.
"""

# N inputs (pivot first), S elements of a span

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from fusionchat.merge.kernels.bf16 import decode_bf16
from fusionchat.merge.kernels.compiled import SPAN, exact
from fusionchat.merge.kernels.gram import measure
from fusionchat.merge.kernels.mix import Factors, mix_bf16

_AHEAD, _LINE = 8192, 64
"""Bytes."""


def _as_pointer(typing: Any, address: Any) -> Any:
    """A number as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uintp), generate


def _fetch_ahead(typing: Any, address: Any) -> Any:
    """Prefetch the cache line at an address; an invalid address does no harm."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", (cgutils.voidptr_t,), kind)
        builder.call(
            prefetch, [builder.inttoptr(arguments[0], cgutils.voidptr_t), number(0), number(3), number(1)]
        )
        return context.get_dummy_value()

    return types.void(types.uintp), generate


_pointer: Any = intrinsic(_as_pointer)
_prefetch: Any = intrinsic(_fetch_ahead)


@exact
def _decode(address_N: np.ndarray, begin: int, x_NS: np.ndarray) -> None:
    """Write the elements from ``begin`` on as float32, and prefetch a few spans ahead (a tenth faster)."""
    end = begin + x_NS.shape[1]
    for n in range(address_N.size):
        for byte in range(2 * begin + _AHEAD, 2 * end + _AHEAD, _LINE):
            _prefetch(address_N[n] + np.uint64(byte))
        decode_bf16(carray(_pointer(address_N[n]), (end,), np.uint16)[begin:], x_NS[n])


@exact
def measure_files(address_N: np.ndarray, begin: int, end: int, with_pivot: bool, gram_NN: np.ndarray) -> int:
    """Add the inner products of elements ``begin .. end`` to ``gram_NN``; returns the conflict count.

    Args:
        address_N: Addresses in memory of the values of pivot and targets (bfloat16), uint64.
        begin: First element.
        end: The one after the last.
        with_pivot: Whether products with the pivot are needed.
        gram_NN: As for `measure`.
    """
    inputs, size, conflicts = address_N.size, min(SPAN, end - begin), 0
    x_NS, delta_JS = np.empty((inputs, size), np.float32), np.empty((inputs - 1, size), np.float32)
    for at in range(begin, end, SPAN):
        if end - at < size:
            size = end - at
            x_NS, delta_JS = np.empty((inputs, size), np.float32), np.empty((inputs - 1, size), np.float32)
        _decode(address_N, at, x_NS)
        conflicts += measure(x_NS, delta_JS, with_pivot, gram_NN)
    return conflicts


class Account(NamedTuple):
    """The accounts of a mixture.

    Attributes:
        sums: As for `fusionchat.merge.kernels.bf16.store`.
        measured: Whether the inner products are known already; otherwise they are added to ``gram_NN``.
        with_pivot, gram_NN: As for `measure`.
    """

    sums: np.ndarray
    measured: bool
    with_pivot: bool
    gram_NN: np.ndarray


@exact
def mix_files(
    address_N: np.ndarray, begin: int, factors: Factors, raw_B: np.ndarray, account: Account
) -> int:
    """Mix the elements from ``begin`` on into ``raw_B`` (bit patterns); returns the conflicts.

    There are none if the products were measured before.
    """
    inputs, size, conflicts = address_N.size, min(SPAN, raw_B.size), 0
    x_NS, delta_JS = np.empty((inputs, size), np.float32), np.empty((inputs - 1, size), np.float32)
    for at in range(0, raw_B.size, SPAN):
        if raw_B.size - at < size:
            size = raw_B.size - at
            x_NS, delta_JS = np.empty((inputs, size), np.float32), np.empty((inputs - 1, size), np.float32)
        _decode(address_N, begin + at, x_NS)
        if not account.measured:
            conflicts += measure(x_NS, delta_JS, account.with_pivot, account.gram_NN)
        mix_bf16(x_NS, factors, raw_B[at : at + size], account.sums)
    return conflicts
