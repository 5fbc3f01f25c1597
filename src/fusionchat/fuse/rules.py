# M models, N rows, C conversations, K kept tokens
"""Fusion rules: which model's distribution a row takes, or how they are mixed. PURE.

Section 3.2 of arXiv 2402.16107v6: MinCE takes the distribution of the model with the least cross-entropy on
the text, AvgCE weights all of them by theirs. Model 0 is the pivot; ties go to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from fusionchat.represent.topk import TopK, widen

Per = Literal["conversation", "turn", "token"]


@dataclass(frozen=True)
class MinCE:
    """The distribution of the model with the least cross-entropy (MinCE, section 3.2).

    Attributes:
        per: What is compared and taken as one: the whole conversation (the paper), a turn, or a token.
        unit: ``bits_per_byte`` compares what tokenizers cannot change; ``nats_per_token`` is the paper's
            and favours finer tokenizers.
    """

    method: Literal["min_ce"] = "min_ce"
    per: Per = "conversation"
    unit: Literal["bits_per_byte", "nats_per_token"] = "bits_per_byte"
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class MeanCE:
    """A mixture of all models' distributions with weights softmax(-CE / temperature) (AvgCE, section 3.2).

    Attributes:
        per: What is scored as one.
        unit: As for `MinCE`.
        temperature: tau, in the unit of CE; 1 is the paper's.
    """

    method: Literal["mean_ce"] = "mean_ce"
    per: Per = "conversation"
    unit: Literal["bits_per_byte", "nats_per_token"] = "bits_per_byte"
    temperature: float = 1.0
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError("temperature must be greater than 0")


FuseRule = MinCE | MeanCE


class Fused(NamedTuple):
    """Fused distributions and where they came from.

    Attributes:
        topk: The pivot's rows with fused distributions; every row has one.
        weights: float32 [M, N], the weight of each model in each row; columns sum to 1.
        fallback: bool [N], rows whose chosen source had no distribution there and so took the pivot's.
    """

    topk: TopK
    weights: Float[np.ndarray, "M N"]
    fallback: Bool[np.ndarray, " N"]


def unit_of_row(topk: TopK, per: Per, turns: int) -> Int[np.ndarray, " N"]:
    """The unit a row is scored with: its conversation, its turn (conversation * turns + turn), or itself."""
    if per == "token":
        return np.arange(topk.rows, dtype=np.int64)
    conversation = np.repeat(np.arange(topk.conversations, dtype=np.int64), np.diff(topk.offsets))
    return conversation if per == "conversation" else conversation * turns + topk.turn


def cross_entropy(topk: TopK, pivot: TopK, rule: FuseRule, *, turns: int) -> Float[np.ndarray, " U"]:
    """CE of a model on each unit of the pivot's rows: bits per UTF-8 byte, or nats per token of its own.

    CE_m(x) = -sum_i log2 p_m(x_i | x_<i) / bytes(x). The model's own tokens of the text are summed, so ``topk``
    may have another tokenizer's rows. The end-of-turn event counts as one byte. NaN where the model has no row.

    Args:
        topk: A model's capture (for ``per: token``, its distributions on the pivot's rows).
        pivot: The pivot's rows.
        rule: Says what is scored as one, and the unit.
        turns: Messages of the longest conversation, see `unit_of_row`.
    """
    own, wanted = unit_of_row(topk, rule.per, turns), unit_of_row(pivot, rule.per, turns)
    units = {"token": pivot.rows, "conversation": pivot.conversations, "turn": pivot.conversations * turns}[
        rule.per
    ]
    nats = np.bincount(own, -topk.label_logprob.astype(np.float64), minlength=units)
    count = np.bincount(own, minlength=units).astype(np.float64)
    if rule.unit == "bits_per_byte":
        sizes = np.maximum(pivot.end - np.maximum(pivot.begin, 0), 1).astype(np.float64)
        nats, length = nats / np.log(2), np.bincount(wanted, sizes, minlength=units).astype(np.float64)
    else:
        length = count
    return np.divide(nats, length, out=np.full(units, np.nan), where=(count > 0) & (length > 0))


def model_weights(ce: Float[np.ndarray, "M U"], rule: FuseRule) -> Float[np.ndarray, "M U"]:
    """Weight of each model in each unit, columns summing to 1; a NaN score (no distribution) never wins.

    Scores are compared in fp32; ties go to the model that comes first, the pivot.
    """
    scores = np.where(np.isnan(ce), np.inf, ce).astype(np.float32)
    if isinstance(rule, MinCE):
        return (np.arange(len(ce))[:, None] == np.argmin(scores, axis=0)).astype(np.float32)
    best = scores.min(axis=0)
    weight = np.exp(-(scores - np.where(np.isfinite(best), best, 0)) / np.float32(rule.temperature))
    weight[0, ~np.isfinite(best)] = 1  # a unit that nobody scored is the pivot's
    return (weight / weight.sum(axis=0)).astype(np.float32)


def fuse(models: Sequence[TopK], captures: Sequence[TopK], rule: FuseRule) -> Fused:
    """Fuse the distributions of all models, given on the pivot's rows.

    Args:
        models: Distributions on the pivot's rows and vocabulary: the pivot's own, then each source's after
            alignment. A row that is not ``present`` carries none.
        captures: The same models' own captures, whose ``label_logprob`` scores the text; for ``per: token``
            scores come from ``models`` instead, since only those share rows.
        rule: `MinCE` or `MeanCE`.

    Returns:
        Rows of width K = models[0].k (the largest masses are kept, the rest joins the tail).
    """
    pivot = models[0]
    assert pivot.present.all(), "the pivot has a distribution in every row"
    scored = models if rule.per == "token" else captures
    turns = int(max(topk.turn.max(initial=0) for topk in scored)) + 1
    ce = np.stack([cross_entropy(topk, pivot, rule, turns=turns) for topk in scored])
    weights = model_weights(ce, rule)[:, unit_of_row(pivot, rule.per, turns)]
    weights, fallback = fall_back(weights, np.stack([topk.present for topk in models]))
    pick = _pick if isinstance(rule, MinCE) else _mix
    return Fused(pick(models, weights), weights, fallback)


def fall_back(
    weights: Float[np.ndarray, "M N"], present: Bool[np.ndarray, "M N"]
) -> tuple[Float[np.ndarray, "M N"], Bool[np.ndarray, " N"]]:
    """Give the weight of models that have no distribution in a row to the pivot; say where that happened."""
    usable = np.where(present, weights, np.float32(0))
    missing = (weights - usable).sum(axis=0)
    usable[0] += missing
    return usable, missing > 0


def _pick(models: Sequence[TopK], weights: Float[np.ndarray, "M N"]) -> TopK:
    k = max(topk.k for topk in models)
    wide = [widen(topk, k) for topk in models]
    chosen = np.argmax(weights, axis=0)
    rows = np.arange(wide[0].rows)
    return wide[0].with_distributions(
        ids=np.stack([t.ids for t in wide])[chosen, rows],
        logprobs=np.stack([t.logprobs for t in wide])[chosen, rows],
        tail=np.stack([t.tail for t in wide])[chosen, rows],
        present=np.ones(wide[0].rows, dtype=bool),
    )


def _mix(models: Sequence[TopK], weights: Float[np.ndarray, "M N"]) -> TopK:
    """The k largest masses of the mixture; its tail is the models' own tails and the masses that were cut off.

    The tails are added as stored: 1 minus a sum of masses that were rounded to fp16 is wrong by up to 2e-3.
    """
    k = models[0].k
    slots = np.concatenate([t.ids for t in models], axis=1).astype(np.int64)
    shares = [np.where(t.present, w, np.float32(0)) for t, w in zip(models, weights, strict=True)]
    mass = [np.exp(t.logprobs.astype(np.float64)) * w[:, None] for t, w in zip(models, shares, strict=True)]
    tails = [np.exp(t.tail.astype(np.float64)) * w for t, w in zip(models, shares, strict=True)]
    ids, kept, cut = combine(slots, np.concatenate(mass, axis=1), k)
    with np.errstate(divide="ignore"):
        logprobs = np.log(kept).astype(np.float16)
        tail = np.log(np.sum(tails, axis=0) + cut).astype(np.float16)
    return models[0].with_distributions(
        ids=ids, logprobs=logprobs, tail=tail, present=np.ones(models[0].rows, dtype=bool)
    )


def combine(
    ids: Int[np.ndarray, "N S"], mass: Float[np.ndarray, "N S"], k: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Add up masses that are on the same id in a row and keep the k largest, largest first.

    Returns:
        ids int32 [N, k] and masses float64 [N, k], where a slot of mass 0 is empty, and the mass cut off, float64 [N].
    """
    ids = np.where(mass > 0, ids, -1)
    order = np.argsort(ids, axis=1, kind="stable")
    ids, mass = np.take_along_axis(ids, order, 1), np.take_along_axis(mass, order, 1)
    first = np.ones(ids.shape, dtype=bool)
    first[:, 1:] = ids[:, 1:] != ids[:, :-1]
    segment = np.cumsum(first.ravel()) - 1
    summed = np.zeros(ids.shape, dtype=np.float64)
    summed[first] = np.bincount(segment, mass.ravel().astype(np.float64))
    summed[ids < 0] = 0
    order = np.argsort(-summed, axis=1, kind="stable")
    sorted_ids, summed = np.take_along_axis(ids, order, 1), np.take_along_axis(summed, order, 1)
    kept = summed[:, :k]
    return np.where(kept > 0, sorted_ids[:, :k], 0).astype(np.int32), kept, summed[:, k:].sum(axis=1)
