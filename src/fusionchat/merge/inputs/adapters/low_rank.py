"""A tensor with a low-rank change, computed in fp64 while it is read.

The result is that of peft's ``merge_and_unload``.

    W' = f * (W - L0 R0 + scale * B diag(d) A)

`L0 R0` is what peft removed from the base weights when it created the adapter (PiSSA, OLoRA, KaSA), `d`
KaSA's diagonal (else 1), and `f = m / ||W - L0 R0 + scale B A||` DoRA's factor of every output (else 1).
"""

# E experts (1 for a plain matrix), P rows and Q columns of a matrix as it is stored, R rank, I inputs, O outputs

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from fusionchat.merge.inputs.plan import Source

_STEP = 2**20
"""Elements of the base that are read at a time."""
_KEPT_BYTES = 64 * 2**20
_ONE_AT_A_TIME = Lock()
"""Held while singular vectors are computed, since that needs a whole matrix in memory."""

Taken = Literal["nothing", "largest", "smallest", "first columns"]
"""What was removed from the base: PiSSA's largest or KaSA's smallest singular values, or OLoRA's QR.

OLoRA removes the first columns of Q.
"""


class Factors(NamedTuple):
    """A change as it is added to the stored tensor, and DoRA's factor of every row or column.

    Attributes:
        left: E matrices P x R.
        right: E matrices R x Q.
        row_P: Factor of every row, or None.
        column_Q: Factor of every column, or None.
    """

    left: Float64[np.ndarray, "E P R"]
    right: Float64[np.ndarray, "E R Q"]
    row_P: Float64[np.ndarray, " P"] | None = None
    column_Q: Float64[np.ndarray, " Q"] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices."""
        return self.left.nbytes + self.right.nbytes


@dataclass(frozen=True)
class Change:
    """The change of a tensor.

    Attributes:
        read: Reads scale * B diag(d), [E, O, R], and A, [E, R, I].
        transposed: Whether the tensor is stored as [I, O].
        taken: What was removed from the base first.
        rank: The rank of what was removed.
        scale: The adapter's scale.
        lengths_O: Reads DoRA's magnitudes; None without DoRA.
    """

    read: Callable[[], tuple[np.ndarray, np.ndarray]]
    transposed: bool = False
    taken: Taken = "nothing"
    rank: int = 0
    scale: float = 1.0
    lengths_O: Callable[[], np.ndarray] | None = None


class Kept:
    """A cache of the factors used last, so that memory does not grow with the adapter."""

    def __init__(self, limit: int = _KEPT_BYTES) -> None:
        self.limit, self.held, self.lock = limit, OrderedDict[int, Factors](), Lock()

    def get(self, key: int) -> Factors | None:
        """The cached factors of a key, or None."""
        with self.lock:
            if key in self.held:
                self.held.move_to_end(key)
            return self.held.get(key)

    def put(self, key: int, factors: Factors) -> None:
        """Cache factors, and drop the oldest if there are too many."""
        with self.lock:
            self.held[key] = factors
            while len(self.held) > 1 and sum(f.nbytes for f in self.held.values()) > self.limit:
                self.held.popitem(last=False)


class Adapted:
    """A tensor of the pivot (or of the adapter) with a change; see the top of this file.

    Args:
        base: The tensor that is changed; vectors are treated as one row.
        change: The change.
        origin: The adapter's file, for messages.
        kept: The cache of factors, shared by an adapter's tensors.
    """

    is_float = True

    def __init__(self, base: Source, change: Change, origin: str, kept: Kept) -> None:
        self.base, self.change, self._origin, self.kept, self.lock = base, change, origin, kept, Lock()

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, which is the base's."""
        return self.base.shape

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return self._origin

    def decode(self, begin: int, out_B: Float32[np.ndarray, " B"]) -> None:
        """Write the elements from ``begin`` on as float32, computed in float64 and rounded once."""
        factors = self.factors()
        self.base.decode(begin, out_B)
        width = self.shape[-1]
        first, last = begin // width, -(-(begin + out_B.size) // width)
        inside = slice(begin - first * width, begin - first * width + out_B.size)
        value_B = _product(factors, first, last).reshape(-1)[inside]
        value_B += out_B
        if factors.row_P is not None:
            value_B *= np.repeat(factors.row_P[first:last], width)[inside]
        if factors.column_Q is not None:
            value_B *= np.tile(factors.column_Q, last - first)[inside]
        with np.errstate(over="ignore"):  # beyond fp32 it becomes inf, which the engine reports by name
            out_B[:] = value_B

    def factors(self) -> Factors:
        """The factors of what is added to the base."""
        with self.lock:
            factors = self.kept.get(id(self))
            if factors is None:
                factors = make_factors(self.base, self.change)
                self.kept.put(id(self), factors)
            return factors

    def read_ahead(self, begin: int) -> None:
        """Do nothing, since the pivot's own tensor is read at the same time."""

    def release(self) -> None:
        """Do nothing, since the pivot's own tensor is released by itself."""


def make_factors(base: Source, change: Change) -> Factors:
    """The factors of what is added to a stored tensor, and DoRA's factors.

    DoRA divides by the norm over the inputs (arXiv 2402.09353, Eq. 5): of each row, or each column if the
    tensor is stored as [I, O]. An output whose weights are all 0 stays 0.
    """
    up, down = change.read()
    left, right = (down.swapaxes(1, 2), up.swapaxes(1, 2)) if change.transposed else (up, down)
    if change.taken != "nothing":
        with _ONE_AT_A_TIME:
            away_PR, away_RQ = taken_away(base, change)
        left = np.concatenate([left, -away_PR[None]], 2)
        right = np.concatenate([right, away_RQ[None]], 1)
    factors = Factors(np.ascontiguousarray(left), np.ascontiguousarray(right))
    if change.lengths_O is None:
        return factors
    squares = [
        np.square(rows + _product(factors, first, first + len(rows))).sum(0 if change.transposed else 1)
        for first, rows in _row_blocks(base)
    ]
    norm_O = np.sqrt(np.sum(squares, 0) if change.transposed else np.concatenate(squares))
    factor_O = np.divide(change.lengths_O(), norm_O, out=np.zeros_like(norm_O), where=norm_O > 0)
    return factors._replace(column_Q=factor_O) if change.transposed else factors._replace(row_P=factor_O)


def _product(factors: Factors, first: int, last: int) -> Float64[np.ndarray, "N Q"]:
    """Rows ``first`` to ``last`` of the change, the experts' matrices one below the other."""
    height, width = factors.left.shape[1], factors.right.shape[2]
    out = np.empty((last - first, width))
    for expert in range(first // height, -(-last // height)):
        begin, end = max(first, expert * height), min(last, (expert + 1) * height)
        rows = factors.left[expert, begin - expert * height : end - expert * height]
        np.matmul(rows, factors.right[expert], out=out[begin - first : end - first])
    return out


def _row_blocks(base: Source) -> Iterator[tuple[int, Float64[np.ndarray, "N Q"]]]:
    """The base's rows in order, a few at a time, as float64; experts one below the other."""
    width = base.shape[-1]
    height = int(np.prod(base.shape[:-1], dtype=np.int64))
    step = max(1, _STEP // width)
    for first in range(0, height, step):
        rows = np.empty((min(step, height - first), width), np.float32)
        base.decode(first * width, rows.reshape(-1))
        yield first, rows.astype(np.float64)


def taken_away(base: Source, change: Change) -> tuple[Float64[np.ndarray, "P R"], Float64[np.ndarray, "R Q"]]:
    """L0 and R0, whose product peft subtracts from the base weights.

    PiSSA uses the `rank` largest singular values with their vectors (arXiv 2404.02948, Eq. 2-4; the scale
    cancels), KaSA the smallest ones (arXiv 2412.06071, Eq. 4), OLoRA `scale * Q[:, :rank] R[:rank]` of W = Q
    R (arXiv 2406.01775). The product of Q's first columns with R's first rows is W projected on W's first
    columns. Singular vectors come from the eigenvectors of the smaller of W Wt and Wt W in fp64, to about
    1e-16 (largest / smallest taken)^2.
    """
    rank = change.rank
    # 1. OLoRA: an orthonormal basis of the first columns, and the whole matrix projected on it
    if change.taken == "first columns":
        start_PR = np.concatenate([rows[:, :rank] for _, rows in _row_blocks(base)])
        basis_PR = np.linalg.qr(start_PR)[0]
        right_RQ = np.zeros((basis_PR.shape[1], base.shape[-1]))
        for first, rows in _row_blocks(base):
            right_RQ += basis_PR[first : first + len(rows)].T @ rows
        return change.scale * basis_PR, right_RQ
    # 2. PiSSA, KaSA: the inner products along the smaller side
    whole_PQ = np.empty(base.shape, np.float32)
    base.decode(0, whole_PQ.reshape(-1))
    wide = whole_PQ.shape[0] <= whole_PQ.shape[1]
    long_NS = whole_PQ.T if wide else whole_PQ  # S is the smaller side
    gram_SS = np.zeros((long_NS.shape[1],) * 2)
    for first in range(0, len(long_NS), 1024):
        part = long_NS[first : first + 1024].astype(np.float64)
        gram_SS += part.T @ part
    # 3. their eigenvectors are the singular vectors of that side
    vectors_SS = np.linalg.eigh(gram_SS)[1]  # in ascending order
    kept_SR = vectors_SS[:, :rank] if change.taken == "smallest" else vectors_SS[:, -rank:]
    # 4. the other side's vectors, with the singular values in them
    parts = [long_NS[n : n + 1024].astype(np.float64) @ kept_SR for n in range(0, len(long_NS), 1024)]
    other_NR = np.concatenate(parts)
    return (kept_SR, other_NR.T) if wide else (other_NR, kept_SR.T)
