"""Inner products of low-rank changes from their factors alone, for VaRM's weights.

    <B1 A1, B2 A2> = sum((B1^T B2) * (A1 A2^T))        (elementwise; the trace of (B1^T B2)^T (A1 A2^T))

The matrices in the sum are r x r, so a change of P x Q costs r^2 (P + Q) instead of r P Q. mean(change^2)
follows with the same factors twice, divided by P Q.
"""

# E experts (1 for a plain matrix), P rows and Q columns, R rank, N inputs (pivot first), J targets

import numpy as np
from jaxtyping import Float64

from fusionchat.merge.inputs.adapters.low_rank import Adapted, Factors
from fusionchat.merge.inputs.plan import TensorJob
from fusionchat.merge.methods.base import Gram


def inner_product(one: Factors, other: Factors) -> float:
    """The sum over all elements of the product of two changes, in float64."""
    left_ERR = np.einsum("epr,eps->ers", one.left, other.left, optimize=True)
    right_ERR = np.einsum("erq,esq->ers", one.right, other.right, optimize=True)
    return float((left_ERR * right_ERR).sum())


def products_of_factors(job: TensorJob) -> Gram | None:
    """Inner products of a tensor's changes without conflicts; None if not all are (small) factors.

    A target that has the pivot's own tensor did not change it.
    """
    pivot, *targets = job.sources
    if any(not _is_plain(source, pivot) for source in targets):
        return None
    changed = {j: source.factors() for j, source in enumerate(targets) if isinstance(source, Adapted)}
    if any(held.row_P is not None or held.column_Q is not None for held in changed.values()):  # DoRA
        return None
    ranks = [held.left.shape[2] for held in changed.values()]
    sides = sum(job.shape[-2:]) if len(job.shape) > 1 else job.count + 1
    if sum(ranks) * sides > job.count // max(1, _matrices(job)):
        return None
    products_NN: Float64[np.ndarray, "N N"] = np.zeros((len(job.sources),) * 2)
    for i, one in changed.items():
        for j, other in changed.items():
            if j >= i:
                products_NN[i + 1, j + 1] = products_NN[j + 1, i + 1] = inner_product(one, other)
    return Gram(products_NN, job.count) if np.isfinite(products_NN).all() else None


def _is_plain(source: object, pivot: object) -> bool:
    """Whether a target's tensor is the pivot's own, or that with factors."""
    return source is pivot or (isinstance(source, Adapted) and source.base is pivot)


def _matrices(job: TensorJob) -> int:
    """The number of matrices in a tensor; those of experts are one below the other."""
    return int(np.prod(job.shape[:-2], dtype=np.int64)) if len(job.shape) > 2 else 1
