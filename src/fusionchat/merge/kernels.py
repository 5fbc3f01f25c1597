"""The inner loops of merging: decode, mix, round, sum. Compiled once, cached on disk, free of the interpreter's lock.

All of them work on one block of flattened elements that fits the second-level cache. Loops run over slices that
begin at 0, because the compiler vectorises only those. Sums are fp32 inside `SPAN` elements and fp64 above, in
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
from numba import njit

from fusionchat.errors import MergeError

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 32768
SPAN = 1024

_MANTISSA_ROUND = np.uint32(0x7FFF)
_ONE, _SIXTEEN = np.uint32(1), np.uint32(16)
_UPPER = np.uint32(0xFFFF0000)
_EXPONENT = np.int32(0x7F800000)


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
def _conflicts(delta_JB: np.ndarray, begin: int, end: int, least: np.ndarray, most: np.ndarray) -> int:
    """Number of elements that one target raises and another lowers."""
    first = delta_JB[0, begin:end]
    for i in range(first.size):
        least[i] = first[i]
        most[i] = first[i]
    for j in range(1, delta_JB.shape[0]):
        delta = delta_JB[j, begin:end]
        for i in range(delta.size):
            least[i] = min(least[i], delta[i])
            most[i] = max(most[i], delta[i])
    count = 0
    for i in range(first.size):
        count += (least[i] < 0) & (most[i] > 0)
    return count


@Kernel
@compiled
def measure(x_NB: np.ndarray, delta_JB: np.ndarray, with_pivot: bool, gram_NN: np.ndarray) -> int:
    """Add inner products to the lower triangle of ``gram_NN``; returns the number of sign conflicts.

    Index 0 is the pivot (only if asked for), index j the change of target j. ``delta_JB`` is written first.
    """
    targets, size = delta_JB.shape
    least, most, conflicts = np.empty(SPAN, np.float32), np.empty(SPAN, np.float32), 0
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
            conflicts += _conflicts(delta_JB, begin, end, least, most)
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
def _weigh(x_NB: np.ndarray, begin: int, weight_J: np.ndarray, of_changes: bool, out: np.ndarray) -> None:
    pivot = x_NB[0, begin : begin + out.size]
    for i in range(out.size):
        out[i] = 0.0
    for j in range(weight_J.size):
        weight, target = weight_J[j], x_NB[j + 1, begin : begin + out.size]
        if of_changes:
            for i in range(out.size):
                out[i] += weight * (np.float64(target[i]) - np.float64(pivot[i]))
        else:
            for i in range(out.size):
                out[i] += weight * np.float64(target[i])


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
    _weigh(x_NB, begin, weight_J, of_changes, out)
    pivot = x_NB[0, begin : begin + out.size]
    if scale != 1.0:
        for i in range(out.size):
            out[i] *= scale
    if divisor != 1.0:  # slow, so only where multiplying by the inverse would not be exact
        for i in range(out.size):
            out[i] /= divisor
    if pivot_scale != 0.0:
        for i in range(out.size):
            out[i] += pivot_scale * np.float64(pivot[i])


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
    if pivot_scale != 0.0:
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
def round_bf16(odd_B: np.ndarray, raw_B: np.ndarray) -> None:
    """Round float32 to bfloat16, to nearest, ties to even: bit patterns to ``raw_B``, values back to ``odd_B``."""
    bits = odd_B.view(np.uint32)
    for i in range(raw_B.size):
        value = (bits[i] + _MANTISSA_ROUND + ((bits[i] >> _SIXTEEN) & _ONE)) & _UPPER
        raw_B[i] = np.uint16(value >> _SIXTEEN)
        bits[i] = value


@compiled
def account(value_B: np.ndarray, pivot_B: np.ndarray, stored_B: np.ndarray, sums: np.ndarray) -> None:
    """Add to ``sums``: squared change against the pivot, squared rounding error, number of values not finite."""
    change, loss, bad = 0.0, 0.0, 0
    bits = stored_B.view(np.int32)
    for i in range(value_B.size):
        moved = value_B[i] - np.float64(pivot_B[i])
        error = np.float64(stored_B[i]) - value_B[i]
        change += moved * moved
        loss += error * error
    for i in range(value_B.size):
        bad += (bits[i] & _EXPONENT) == _EXPONENT
    sums[0] += change
    sums[1] += loss
    sums[2] += bad


@exact
def _store_bf16(value_B: np.ndarray, pivot_B: np.ndarray, raw_B: np.ndarray, sums: np.ndarray) -> None:
    stored = np.empty(SPAN, np.float32)
    for begin in range(0, value_B.size, SPAN):
        value = value_B[begin : min(value_B.size, begin + SPAN)]
        to_odd(value, stored[: value.size])
        round_bf16(stored[: value.size], raw_B[begin : begin + value.size])
        account(value, pivot_B[begin : begin + value.size], stored[: value.size], sums)


@Kernel
def store(value_B: np.ndarray, pivot_B: np.ndarray, raw_B: np.ndarray, sums: np.ndarray) -> None:
    """Round float64 values to the type of ``raw_B`` (bfloat16 is uint16 there), once, and `account` for them."""
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
    account(value_B, pivot_B, stored_B, sums)


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
    bad = (~wide_B.isfinite()).sum().double()
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
    space, stored = np.empty(SPAN, np.float64), np.empty(SPAN, np.float32)
    for begin in range(0, raw_B.size, SPAN):
        raw = raw_B[begin : min(raw_B.size, begin + SPAN)]
        value = space[: raw.size]
        _mix(x_NB, begin, weight_J, of_changes, pivot_scale, scale, divisor, value)
        to_odd(value, stored[: raw.size])
        round_bf16(stored[: raw.size], raw)
        account(value, x_NB[0, begin : begin + raw.size], stored[: raw.size], sums)


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
