# M models, N rows, C conversations, K kept tokens
"""Fusion rules: which model's distribution a row takes, or how they are mixed. PURE.

Section 3.2 of arXiv 2402.16107v6: MinCE takes the distribution of the model with the least cross-entropy on
the text, AvgCE weights all of them by theirs. Model 0 is the pivot; ties go to it. Models are compared over the events
that all of them score (`fusionchat.represent.events`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from fusionchat.represent.events import NATS_PER_BIT, Events, add_up, common, events_of
from fusionchat.represent.topk import TopK, widen

Per = Literal["conversation", "turn", "token"]


@dataclass(frozen=True)
class MinCE:
    """The distribution of the model with the least cross-entropy (MinCE, section 3.2).

    Attributes:
        per: What is compared and taken as one: the whole conversation (the paper), a turn, or a token; over the text
            that all models score.
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
        shared: bool [N], rows over whose events all models were compared.
    """

    topk: TopK
    weights: Float[np.ndarray, "M N"]
    fallback: Bool[np.ndarray, " N"]
    shared: Bool[np.ndarray, " N"]


class Scored(NamedTuple):
    """How models score the units, over the events that all models compared in a unit score.

    Attributes:
        ce: float64 [M, U], bits per UTF-8 byte or nats per token; NaN for a model that is not compared in the unit.
        shared: bool [N], rows of the pivot in which all models were compared.
    """

    ce: Float[np.ndarray, "M U"]
    shared: Bool[np.ndarray, " N"]


def unit_of_row(events: Events, per: Per, turns: int) -> Int[np.ndarray, " N"]:
    """The unit a row is scored with: its conversation, its turn (conversation * turns + turn), or itself."""
    if per == "token":
        return np.arange(len(events.turn), dtype=np.int64)
    return events.conversation if per == "conversation" else events.conversation * turns + events.turn


def score_units(captures: Sequence[TopK], rule: FuseRule, bytes_CT: Int[np.ndarray, "C T"]) -> Scored:
    """CE of every model on each conversation or turn, from the models' own captures.

    CE_m(x) = -sum_i log2 p_m(x_i | x_<i) / bytes(x) over the tokens i of model m in the regions of x that the tokens of
    all models tile (see `fusionchat.represent.events`, which also says what bytes(x) is). In nats per token the sum is
    divided by the number of these tokens. A model that shares no region with the pivot in a unit is not compared there.
    """
    (count, turns), models = bytes_CT.shape, [events_of(topk, bytes_CT) for topk in captures]
    units = [unit_of_row(events, rule.per, turns) for events in models]
    size = count if rule.per == "conversation" else count * turns
    meets_MU = np.ones((len(models), size), dtype=bool)
    for m in range(1, len(models)):
        with_pivot = common([models[0], models[m]])[1]
        meets_MU[m] = add_up(with_pivot, units[m], size) > 0
    masks = common(models, units, meets_MU)
    ce_MU = np.stack([
        _ce(-topk.label_logprob[mask].astype(np.float64), events.bytes[mask], unit[mask], size, rule)
        for topk, events, unit, mask in zip(captures, models, units, masks, strict=True)
    ])  # fmt: skip
    everybody_U = np.logical_and.reduce(meets_MU)
    return Scored(ce_MU, masks[0] & everybody_U[units[0]])


def score_rows(aligned: Sequence[TopK], rule: FuseRule, bytes_CT: Int[np.ndarray, "C T"]) -> Scored:
    """CE of every model on each of the pivot's rows, from their distributions there; an unaligned row has none."""
    events = events_of(aligned[0], bytes_CT)
    rows = np.arange(len(events.turn), dtype=np.int64)
    ce_MN = np.stack([
        _ce(-topk.label_logprob.astype(np.float64), events.bytes, rows, len(rows), rule) for topk in aligned
    ])  # fmt: skip
    return Scored(ce_MN, ~np.isnan(ce_MN).any(axis=0))


def _ce(
    nats_N: Float[np.ndarray, " N"],
    bytes_N: Int[np.ndarray, " N"],
    unit_N: Int[np.ndarray, " N"],
    units: int,
    rule: FuseRule,
) -> Float[np.ndarray, " U"]:
    """Rows' nats in the rule's unit, by unit; NaN where there is no row."""
    rows = add_up(np.ones(len(unit_N)), unit_N, units)
    nats = add_up(nats_N, unit_N, units)
    if rule.unit == "bits_per_byte":
        nats, length = nats / NATS_PER_BIT, np.maximum(add_up(bytes_N, unit_N, units), 1.0)
    else:
        length = rows
    return np.divide(nats, length, out=np.full(units, np.nan), where=rows > 0)


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


def fuse(
    models: Sequence[TopK], captures: Sequence[TopK], rule: FuseRule, bytes_CT: Int[np.ndarray, "C T"]
) -> Fused:
    """Fuse the distributions of all models, given on the pivot's rows.

    Args:
        models: Distributions on the pivot's rows and vocabulary: the pivot's own, then each source's after
            alignment. A row that is not ``present`` carries none.
        captures: The same models' own captures, whose ``label_logprob`` scores the text; for ``per: token``
            scores come from ``models`` instead, since only those share rows.
        rule: `MinCE` or `MeanCE`.
        bytes_CT: UTF-8 bytes of every message of these conversations.

    Returns:
        Rows of width K = models[0].k (the largest masses are kept, the rest joins the tail).
    """
    pivot = models[0]
    assert pivot.present.all(), "the pivot has a distribution in every row"
    scored = (
        score_rows(models, rule, bytes_CT) if rule.per == "token" else score_units(captures, rule, bytes_CT)
    )
    unit = unit_of_row(events_of(pivot, bytes_CT), rule.per, bytes_CT.shape[1])
    weights, fallback = fall_back(
        model_weights(scored.ce, rule)[:, unit], np.stack([topk.present for topk in models])
    )
    pick = _pick if isinstance(rule, MinCE) else _mix
    return Fused(pick(models, weights), weights, fallback, scored.shared)


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
