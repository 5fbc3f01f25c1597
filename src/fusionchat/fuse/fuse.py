# M models, N rows, C conversations, T messages of the longest conversation, K kept tokens, S slots of all models
"""Fused distributions: in each row one model's, or a mixture of several. PURE.

Section 3.2 of arXiv 2402.16107v6. A rule of `fusionchat.fuse.rules` gives each model's weight in each unit of
text; here the weights become distributions. Model 0 is the pivot.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from fusionchat.fuse.rules.base import BaseRule, Per, Units
from fusionchat.fuse.scores import score_rows, score_units, unit_of_row
from fusionchat.fuse.temper import entropy_of_rows, mean_entropy, temper
from fusionchat.represent.events import Events, events_of
from fusionchat.represent.topk import Scored, TopK, widen


class Fused(NamedTuple):
    """Fused distributions and where they came from.

    Attributes:
        topk: Fused distributions on the pivot's rows; every row has one.
        weights: float32 [M, N], the weight of each model in each row; columns sum to 1.
        fallback: bool [N], rows whose chosen source had no distribution there and so took the pivot's.
        shared: bool [N], rows over whose events all models were compared.
        to_pivot: How many units the rule gave to the pivot for lack of another model, by reason.
    """

    topk: TopK
    weights: Float[np.ndarray, "M N"]
    fallback: Bool[np.ndarray, " N"]
    shared: Bool[np.ndarray, " N"]
    to_pivot: Mapping[str, int] = {}


def fuse(
    models: Sequence[Scored],
    captures: Sequence[Scored],
    rule: BaseRule,
    bytes_CT: Int[np.ndarray, "C T"],
    *,
    names: Sequence[str] = (),
    labels: Sequence[str] = (),
    given: Float[np.ndarray, "M C"] | None = None,
) -> Fused:
    """The fused distributions of all models, given on the pivot's rows.

    Args:
        models: Distributions on the pivot's rows and vocabulary: the pivot's own capture, then each source's
            after alignment. A row that is not ``present`` has none.
        captures: The same models' own captures, whose ``label_logprob`` scores the text; for ``per: token``
            scores come from ``models`` instead, because only these share rows.
        rule: The rule that computes the weights.
        bytes_CT: UTF-8 bytes of every message of these conversations.
        names: The models' names, the pivot first, for rules that name models.
        labels: The value of ``rule.column`` for each conversation, such as its domain, for rules that use
            it.
        given: Fixed weights of the models, for conversations where the text does not decide; NaN in the
            others.

    Returns:
        Rows of the pivot's width K (the largest masses are kept, the rest joins the tail).
    """
    names = names or ("pivot", *(f"source {m}" for m in range(1, len(models))))
    pivot = models[0].tokens
    topks = [
        temper(model.topk, rule.temperatures.get(name, 1.0))
        for name, model in zip(names, models, strict=True)
    ]
    assert topks[0].present.all(), "the pivot has a distribution in every row"
    scored = (
        score_rows(models, rule, bytes_CT) if rule.per == "token" else score_units(captures, rule, bytes_CT)
    )
    events = events_of(pivot, bytes_CT)
    unit = unit_of_row(events, rule.per, bytes_CT.shape[1])
    known = Units(
        ce=scored.ce,
        names=names,
        labels=label_of_units(labels, rule.per, bytes_CT, events),
        entropy=entropies(topks, rule, unit, scored.ce.shape[1]),
    )
    weights = rule.weigh(known)[:, unit]
    if given is not None:
        given_MN = given[:, events.conversation]
        weights = np.where(np.isnan(given_MN), weights, given_MN)
    weights, fallback = fall_back(weights, np.stack([topk.present for topk in topks]))
    pick = _mix if rule.mixes else _pick
    return Fused(pick(topks, weights), weights, fallback, scored.shared, rule.to_pivot(known))


def entropies(
    topks: Sequence[TopK], rule: BaseRule, unit_N: Int[np.ndarray, " N"], units: int
) -> Float[np.ndarray, "M U"] | None:
    """The entropies that a rule asks for, None if it asks for none."""
    if not rule.asks_entropy:
        return None
    return entropy_of_rows(topks) if rule.per == "token" else mean_entropy(topks, unit_N, units)


def label_of_units(
    labels: Sequence[str], per: Per, bytes_CT: Int[np.ndarray, "C T"], events: Events
) -> Sequence[str]:
    """The label of each unit's conversation; "" for all where none are given."""
    count, turns = bytes_CT.shape
    conversation_U = {
        "conversation": np.arange(count),
        "turn": np.arange(count * turns) // max(turns, 1),
        "token": events.conversation,
    }[per]
    return [labels[c] for c in conversation_U.tolist()] if labels else [""] * len(conversation_U)


def fall_back(
    weights: Float[np.ndarray, "M N"], present: Bool[np.ndarray, "M N"]
) -> tuple[Float[np.ndarray, "M N"], Bool[np.ndarray, " N"]]:
    """The weights, with those of models that have no distribution in a row moved to the pivot, and where."""
    usable = np.where(present, weights, np.float32(0))
    missing = (weights - usable).sum(axis=0)
    usable[0] += missing
    return usable, missing > 0


def _pick(models: Sequence[TopK], weights: Float[np.ndarray, "M N"]) -> TopK:
    k = max(topk.k for topk in models)
    wide = [widen(topk, k) for topk in models]
    chosen = np.argmax(weights, axis=0)
    rows = np.arange(wide[0].rows)
    return TopK(
        ids=np.stack([t.ids for t in wide])[chosen, rows],
        logprobs=np.stack([t.logprobs for t in wide])[chosen, rows],
        tail=np.stack([t.tail for t in wide])[chosen, rows],
        present=np.ones(wide[0].rows, dtype=bool),
    )


def _mix(models: Sequence[TopK], weights: Float[np.ndarray, "M N"]) -> TopK:
    """The mixture with its k largest masses; the others and the models' tails are its tail.

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
    return TopK(ids, logprobs, tail, present=np.ones(models[0].rows, dtype=bool))


def combine(
    ids: Int[np.ndarray, "N S"], mass: Float[np.ndarray, "N S"], k: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Add up the masses of the same id in a row and keep the k largest, largest first.

    Returns:
        ids int32 [N, k] and masses float64 [N, k], where a slot of mass 0 is empty, and the mass cut off,
        float64 [N].
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
