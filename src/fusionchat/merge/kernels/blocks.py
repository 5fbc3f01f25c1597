"""The inner loops of merging: decode, mix, round, sum. Compiled once, cached on disk, free of the interpreter's lock.

All of them work on one block of flattened elements, a span at a time. Loops run over slices that begin at 0, because
the compiler vectorises only those. Sums are fp32 inside `SPAN` elements and fp64 above, in
a fixed order, so that a result depends on neither threads nor block size.

A `Kernel` has a second form for PyTorch tensors on a device, its twin, right below it. Twins do the same operations in
the same order, so they give the same bytes; only their sums differ (fp64 throughout). They must use neither
``add(alpha=)`` nor ``addcmul``, which round once where the formula rounds twice, nor divide by a Python number, which
CUDA replaces by its inverse. What they count comes back to the host, into numpy arrays or as a whole number.
"""

# N inputs (pivot first), J = N - 1 targets, B elements of a block

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fusionchat.errors import MergeError

if TYPE_CHECKING:
    from torch import Tensor

Whole = int | np.integer
"""Thresholds and counters come from numpy arrays, one number at a time."""
BLOCK = 2**17
"""Elements of a block: a quarter would fit the second-level cache, but then calls cost more than the cache gives."""
SPAN = 1024

_ONE, _SIXTEEN = np.uint32(1), np.uint32(16)
# bfloat16 keeps 7 of the 52 places of a float64
_CUT, _HALF, _KEPT = np.int64(45), np.int64(2**44 - 1), np.int64(-(2**45))
_MAGNITUDE = np.int64(2**63 - 1)
_LEAST, _NORMAL = 2.0**-126, np.int64((1023 - 126) << 52)
_BEYOND = np.int64((1023 + 128) << 52)
_GRID = 1.5 * 2.0**-81
"""Added and taken away, it leaves multiples of 2^-133, the least number above 0."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel: cached on disk, without the lock, sums may be reordered and fused but NaN and inf are kept."""
    return njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})(
        function
    )


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel without any licence to change the arithmetic."""
    return njit(cache=True, nogil=True, error_model="numpy")(function)


class Kernel:
    """A loop over numpy arrays, and its twin that does the same to PyTorch tensors; the first argument's type decides.

    Kernels that other compiled kernels call are left as they are: the compiler cannot look into this.
    """

    def __init__(self, host: Callable[..., Any]) -> None:
        self.host, self.__name__, self.__doc__ = host, host.__name__, host.__doc__
        self.twin: Callable[..., Any] = self._lacking

    def on_device(self, twin: Callable[..., Any]) -> Callable[..., Any]:
        """Name the form for tensors; a decorator."""
        self.twin = twin
        return twin

    def __call__(self, first: Any, *rest: Any) -> Any:
        """Run the form that fits the first argument."""
        if type(first) is _ARRAY:
            return self.host(first, *rest)
        return self.twin(first, *rest)

    def _lacking(self, *_: object) -> None:
        raise MergeError(
            f"This method does not run on a device: {self.__name__} has no form for it", do="use device: cpu"
        )


_ARRAY = np.ndarray


@Kernel
def empty(like: np.ndarray, shape: Sequence[int], kind: str) -> np.ndarray:
    """An array of the same sort, not filled; ``uint32`` is int32 on a device, the same bits."""
    return np.empty(shape, kind)


@empty.on_device
def _(like: "Tensor", shape: Sequence[int], kind: str) -> "Tensor":
    import torch

    return like.new_empty(tuple(shape), dtype=torch.int32 if kind == "uint32" else getattr(torch, kind))


@compiled
def decode_bf16(raw_B: np.ndarray, out_B: np.ndarray) -> None:
    """Write bfloat16 bit patterns (uint16) as float32."""
    bits = out_B.view(np.uint32)
    for i in range(raw_B.size):
        bits[i] = np.uint32(raw_B[i]) << _SIXTEEN


@Kernel
@compiled
def subtract(x_NB: np.ndarray, delta_JB: np.ndarray) -> None:
    """Write every target's change against the pivot, float32."""
    pivot = x_NB[0]
    for j in range(delta_JB.shape[0]):
        target, delta = x_NB[j + 1], delta_JB[j]
        for i in range(delta.size):
            delta[i] = target[i] - pivot[i]


@subtract.on_device
def _(x_NB: "Tensor", delta_JB: "Tensor") -> None:
    delta_JB.copy_(x_NB[1:])
    delta_JB -= x_NB[0]


@compiled
def _inner(left: np.ndarray, right: np.ndarray) -> np.float32:
    total = np.float32(0)
    for i in range(left.size):
        total += left[i] * right[i]
    return total


@compiled
def _conflicts(delta_JB: np.ndarray, begin: int, end: int, moves: np.ndarray) -> int:
    """Number of elements that one target raises and another lowers, at most `SPAN` of them."""
    for j in range(delta_JB.shape[0]):
        delta = delta_JB[j, begin:end]
        for i in range(delta.size):
            move = np.uint32(delta[i] > 0) | (np.uint32(delta[i] < 0) << _ONE)
            moves[i] = move if j == 0 else moves[i] | move
    count = np.float32(0)  # exact here, and added up in vectors
    for i in range(end - begin):
        count += np.float32(1) if moves[i] == 3 else np.float32(0)
    return int(count)


@Kernel
@compiled
def measure(x_NB: np.ndarray, delta_JB: np.ndarray, with_pivot: bool, gram_NN: np.ndarray) -> int:
    """Add inner products to the lower triangle of ``gram_NN``; returns the number of sign conflicts.

    Index 0 is the pivot (only if asked for), index j the change of target j. ``delta_JB`` is written first.
    """
    targets, size = delta_JB.shape
    moves, conflicts = np.empty(SPAN, np.uint32), 0
    for begin in range(0, size, SPAN):
        end = min(size, begin + SPAN)
        pivot = x_NB[0, begin:end]
        for j in range(targets):
            target, delta = x_NB[j + 1, begin:end], delta_JB[j, begin:end]
            for i in range(delta.size):
                delta[i] = target[i] - pivot[i]
            for k in range(j + 1):
                gram_NN[j + 1, k + 1] += _inner(delta, delta_JB[k, begin:end])
            if with_pivot:
                gram_NN[j + 1, 0] += _inner(delta, pivot)
        if with_pivot:
            gram_NN[0, 0] += _inner(pivot, pivot)
        if targets > 1:
            conflicts += _conflicts(delta_JB, begin, end, moves)
    return conflicts


@measure.on_device
def _(x_NB: "Tensor", delta_JB: "Tensor", with_pivot: bool, gram_NN: np.ndarray) -> int:
    import torch

    subtract(x_NB, delta_JB)
    wide_NB = torch.cat([x_NB[:1], delta_JB]).double()
    first, sums = 0 if with_pivot else 1, [delta_JB.new_zeros(1).double()]
    if len(delta_JB) > 1:
        sums[0] += ((delta_JB.amin(0) < 0) & (delta_JB.amax(0) > 0)).sum()
    for j in range(first, len(wide_NB)):
        sums.append((wide_NB[first : j + 1] * wide_NB[j]).sum(1))
    conflicts, *products = torch.cat(sums).tolist()
    low = np.tril_indices(len(wide_NB) - first)
    gram_NN[low[0] + first, low[1] + first] += products
    return int(conflicts)


@exact
def _first(
    pivot: np.ndarray, one: np.ndarray, weight: float, own: float, times: float, plus: float, out: np.ndarray
) -> None:
    for i in range(out.size):
        base = np.float64(pivot[i])
        out[i] = (0.0 + weight * (np.float64(one[i]) - own * base)) * times + plus * base


@exact
def _first_two(
    pivot: np.ndarray, one: np.ndarray, two: np.ndarray, weight_J: np.ndarray, own: float, times: float, plus: float,
    out: np.ndarray,
) -> None:  # fmt: skip
    first, second = weight_J
    for i in range(out.size):
        base = np.float64(pivot[i])
        total = 0.0 + first * (np.float64(one[i]) - own * base)
        out[i] = (total + second * (np.float64(two[i]) - own * base)) * times + plus * base


@exact
def _two_more(
    pivot: np.ndarray, one: np.ndarray, two: np.ndarray, weight_J: np.ndarray, own: float, times: float, plus: float,
    out: np.ndarray,
) -> None:  # fmt: skip
    first, second = weight_J
    for i in range(out.size):
        base = np.float64(pivot[i])
        total = out[i] + first * (np.float64(one[i]) - own * base)
        out[i] = (total + second * (np.float64(two[i]) - own * base)) * times + plus * base


@exact
def _mix(
    x_NB: np.ndarray,
    begin: int,
    weight_J: np.ndarray,
    of_changes: bool,
    pivot_scale: float,
    scale: float,
    divisor: float,
    out: np.ndarray,
) -> None:
    """`mix` of one span. Passes are what it costs, so targets go two by two, and factors of 1 and 0 replace branches."""
    targets, end, own = weight_J.size, begin + out.size, 1.0 if of_changes else 0.0
    pivot, odd = x_NB[0, begin:end], targets % 2
    divides = divisor != 1.0 or targets == 0
    if targets == 0:
        for i in range(out.size):
            out[i] = 0.0
    elif odd:
        times, plus = (scale, pivot_scale) if targets == 1 and not divides else (1.0, 0.0)
        _first(pivot, x_NB[1, begin:end], weight_J[0], own, times, plus, out)
    for j in range(odd, targets, 2):
        times, plus = (scale, pivot_scale) if j + 2 == targets and not divides else (1.0, 0.0)
        one, two, weight = x_NB[j + 1, begin:end], x_NB[j + 2, begin:end], (weight_J[j], weight_J[j + 1])
        if j == 0:
            _first_two(pivot, one, two, weight, own, times, plus, out)
        else:
            _two_more(pivot, one, two, weight, own, times, plus, out)
    if divides:  # slow, so only where multiplying by the inverse would not be exact
        for i in range(out.size):
            out[i] = out[i] * scale / divisor + pivot_scale * np.float64(pivot[i])


@Kernel
@exact
def mix(
    x_NB: np.ndarray,
    weight_J: np.ndarray,
    of_changes: bool,
    pivot_scale: float,
    scale: float,
    divisor: float,
    out_B: np.ndarray,
) -> None:
    """Write ``pivot_scale * pivot + scale * (sum_j weight_j * v_j) / divisor`` in float64, one operation at a time.

    v_j is the target, or its change against the pivot. The order of operations is the formula's, so that exact
    halves between two stored values (common among bfloat16 inputs) stay exact and are rounded to even.
    """
    for begin in range(0, out_B.size, SPAN):
        out = out_B[begin : min(out_B.size, begin + SPAN)]
        _mix(x_NB, begin, weight_J, of_changes, pivot_scale, scale, divisor, out)


@mix.on_device
def _(
    x_NB: "Tensor",
    weight_J: np.ndarray,
    of_changes: bool,
    pivot_scale: float,
    scale: float,
    divisor: float,
    out_B: "Tensor",
) -> None:
    pivot_B = x_NB[0].double()
    out_B.zero_()
    for weight, target_B in zip(weight_J.tolist(), x_NB[1:], strict=True):
        value_B = target_B.double()
        if of_changes:
            value_B -= pivot_B
        value_B *= weight
        out_B += value_B
    if scale != 1.0:
        out_B *= float(scale)
    if divisor != 1.0:
        out_B /= out_B.new_full((), float(divisor))
    pivot_B *= float(pivot_scale)
    out_B += pivot_B


@exact
def to_odd(value_B: np.ndarray, out_B: np.ndarray) -> None:
    """Round float64 to float32 toward zero, with the last bit set where it was inexact.

    Rounding that again to bfloat16 or float16 gives the correctly rounded value (Boldo and Melquiond, 2008).
    """
    bits = out_B.view(np.int32)
    for i in range(value_B.size):
        out_B[i] = np.float32(value_B[i])
    for i in range(value_B.size):
        back, value = np.float64(out_B[i]), value_B[i]
        bits[i] = (bits[i] - np.int32(abs(back) > abs(value))) | np.int32(back != value)


@exact
def round_bf16(value_B: np.ndarray, wide_B: np.ndarray, narrow_B: np.ndarray, raw_B: np.ndarray) -> bool:
    """Round float64 to bfloat16, to nearest, ties to even; returns whether all of the results are finite.

    Args:
        value_B: What is rounded.
        wide_B: The results as float64, but for those beyond bfloat16's range.
        narrow_B: The results as float32.
        raw_B: Their bit patterns.
    """
    bits, cut = value_B.view(np.int64), wide_B.view(np.int64)
    for i in range(value_B.size):
        cut[i] = (bits[i] + _HALF + ((bits[i] >> _CUT) & np.int64(1))) & _KEPT
    largest, smallest = np.int64(0), _MAGNITUDE
    for i in range(value_B.size):
        size = cut[i] & _MAGNITUDE
        largest = max(largest, size)
        smallest = min(smallest, size if size != 0 else _MAGNITUDE)
    if smallest < _NORMAL:  # below the least normal number the last place is the same for all
        for i in range(value_B.size):
            if abs(value_B[i]) < _LEAST:
                wide_B[i] = np.copysign((value_B[i] + _GRID) - _GRID, value_B[i])
    for i in range(value_B.size):
        narrow_B[i] = np.float32(wide_B[i])
    half = narrow_B.view(np.uint32)
    for i in range(value_B.size):
        raw_B[i] = np.uint16(half[i] >> _SIXTEEN)
    return bool(largest < _BEYOND)


@compiled
def _squares(value_B: np.ndarray, pivot_B: np.ndarray, stored_B: np.ndarray, sums: np.ndarray) -> None:
    """Add to ``sums``: squared change against the pivot, squared rounding error."""
    change, loss = 0.0, 0.0
    for i in range(value_B.size):
        moved = value_B[i] - np.float64(pivot_B[i])
        error = np.float64(stored_B[i]) - value_B[i]
        change += moved * moved
        loss += error * error
    sums[0] += change
    sums[1] += loss


@exact
def _end_bf16(
    value: np.ndarray,
    pivot: np.ndarray,
    wide: np.ndarray,
    narrow: np.ndarray,
    raw: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Round one span and account for it."""
    if not round_bf16(value, wide, narrow, raw):
        sums[2] += 1
    _squares(value, pivot, wide, sums)


@exact
def _store_bf16(value_B: np.ndarray, pivot_B: np.ndarray, raw_B: np.ndarray, sums: np.ndarray) -> None:
    wide, narrow = np.empty(SPAN, np.float64), np.empty(SPAN, np.float32)
    for begin in range(0, value_B.size, SPAN):
        end = min(value_B.size, begin + SPAN)
        space = wide[: end - begin], narrow[: end - begin]
        _end_bf16(value_B[begin:end], pivot_B[begin:end], *space, raw_B[begin:end], sums)


@Kernel
def store(value_B: np.ndarray, pivot_B: np.ndarray, raw_B: np.ndarray, sums: np.ndarray) -> None:
    """Round float64 values to the type of ``raw_B`` (bfloat16 is uint16 there), once, and account for them.

    Adds to ``sums``: squared change against the pivot, squared rounding error, and something where a value is not finite.
    """
    if raw_B.dtype == np.uint16:
        _store_bf16(value_B, pivot_B, raw_B, sums)
        return
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is counted and refused by name
        if raw_B.dtype == np.float32:
            raw_B[:] = value_B
            stored_B = raw_B
        else:
            stored_B = np.empty(value_B.size, np.float32)
            to_odd(value_B, stored_B)
            raw_B[:] = stored_B
            stored_B[:] = raw_B
    _squares(value_B, pivot_B, stored_B, sums)
    sums[2] += not np.isfinite(stored_B).all()


@store.on_device
def _(value_B: "Tensor", pivot_B: "Tensor", raw_B: "Tensor", sums: np.ndarray) -> None:
    import torch

    stored_B = value_B.float()
    if raw_B.dtype != torch.float32:  # to odd, as `to_odd` has it
        back_B, bits_B = stored_B.double(), stored_B.view(torch.int32)
        bits_B -= (back_B.abs() > value_B.abs()).int()
        bits_B |= (back_B != value_B).int()
    raw_B.copy_(stored_B)
    wide_B = raw_B.double()
    change_B, error_B = value_B - pivot_B.double(), wide_B - value_B
    bad = (~wide_B.isfinite()).any().double()
    sums += torch.stack([(change_B * change_B).sum(), (error_B * error_B).sum(), bad]).tolist()


@Kernel
@exact
def mix_bf16(
    x_NB: np.ndarray,
    weight_J: np.ndarray,
    of_changes: bool,
    pivot_scale: float,
    scale: float,
    divisor: float,
    raw_B: np.ndarray,
    sums: np.ndarray,
) -> None:
    """`mix` and `store` in one go, without leaving the first-level cache."""
    space, wide, narrow = np.empty(SPAN, np.float64), np.empty(SPAN, np.float64), np.empty(SPAN, np.float32)
    for begin in range(0, raw_B.size, SPAN):
        end = min(raw_B.size, begin + SPAN)
        value, space_too = space[: end - begin], (wide[: end - begin], narrow[: end - begin])
        _mix(x_NB, begin, weight_J, of_changes, pivot_scale, scale, divisor, value)
        _end_bf16(value, x_NB[0, begin:end], *space_too, raw_B[begin:end], sums)


@mix_bf16.on_device
def _(
    x_NB: "Tensor",
    weight_J: np.ndarray,
    of_changes: bool,
    pivot_scale: float,
    scale: float,
    divisor: float,
    raw_B: "Tensor",
    sums: np.ndarray,
) -> None:
    value_B = x_NB[0].double()
    mix(x_NB, weight_J, of_changes, pivot_scale, scale, divisor, value_B)
    store(value_B, x_NB[0], raw_B, sums)


# The common case in one go: bfloat16 files mixed into a bfloat16 result, span by span in the first-level cache. The
# same operations as `measure` and `mix_bf16` on decoded blocks, without blocks in between, one call for a whole chunk.
# In this file because numba looks at one file only to see whether compiled code is stale.

_AHEAD, _LINE = 8192, 64
"""Bytes."""
_measure, _mix_bf16 = measure.host, mix_bf16.host


def _as_pointer(typing: Any, address: Any) -> Any:
    """A number as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uintp), generate


def _fetch_ahead(typing: Any, address: Any) -> Any:
    """Ask the processor for the line of memory at an address; one that is not there does no harm."""

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
    """Write the elements from ``begin`` on as float32, and send for those a few spans on: a tenth faster than without."""
    end = begin + x_NS.shape[1]
    for n in range(address_N.size):
        for byte in range(2 * begin + _AHEAD, 2 * end + _AHEAD, _LINE):
            _prefetch(address_N[n] + np.uint64(byte))
        decode_bf16(carray(_pointer(address_N[n]), (end,), np.uint16)[begin:], x_NS[n])


@exact
def measure_files(address_N: np.ndarray, begin: int, end: int, with_pivot: bool, gram_NN: np.ndarray) -> int:
    """Add the inner products of the elements ``begin .. end`` to ``gram_NN``; returns the number of conflicts.

    Args:
        address_N: Where the values of pivot and targets are in memory (bfloat16), uint64.
        begin: First element.
        end: Behind the last one.
        with_pivot: Whether products with the pivot are asked for.
        gram_NN: As for `measure`.
    """
    inputs, size, conflicts = address_N.size, min(SPAN, end - begin), 0
    x_NS, delta_JS = np.empty((inputs, size), np.float32), np.empty((inputs - 1, size), np.float32)
    for at in range(begin, end, SPAN):
        if end - at < size:
            size = end - at
            x_NS, delta_JS = np.empty((inputs, size), np.float32), np.empty((inputs - 1, size), np.float32)
        _decode(address_N, at, x_NS)
        conflicts += _measure(x_NS, delta_JS, with_pivot, gram_NN)
    return conflicts


@exact
def mix_files(
    address_N: np.ndarray,
    begin: int,
    weight_J: np.ndarray,
    of_changes: bool,
    pivot_scale: float,
    scale: float,
    divisor: float,
    raw_B: np.ndarray,
    sums: np.ndarray,
    measured: bool,
    with_pivot: bool,
    gram_NN: np.ndarray,
) -> int:
    """Mix the elements from ``begin`` on into ``raw_B`` (bit patterns), and account for them in ``sums``.

    Unless they were ``measured`` before, adds their inner products to ``gram_NN`` and returns the number of conflicts.
    """
    inputs, size, conflicts = address_N.size, min(SPAN, raw_B.size), 0
    x_NS, delta_JS = np.empty((inputs, size), np.float32), np.empty((inputs - 1, size), np.float32)
    for at in range(0, raw_B.size, SPAN):
        if raw_B.size - at < size:
            size = raw_B.size - at
            x_NS, delta_JS = np.empty((inputs, size), np.float32), np.empty((inputs - 1, size), np.float32)
        _decode(address_N, begin + at, x_NS)
        if not measured:
            conflicts += _measure(x_NS, delta_JS, with_pivot, gram_NN)
        _mix_bf16(x_NS, weight_J, of_changes, pivot_scale, scale, divisor, raw_B[at : at + size], sums)
    return conflicts
