# M models, N rows, C conversations, T messages of the longest conversation, U units
"""How well each model scores the units that a fusion rule compares. PURE.

Models are compared over the events that all of them score (`fusionchat.represent.events`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fusionchat.fuse.rules.base import BaseRule, Per
from fusionchat.represent.bits import NATS_PER_BIT
from fusionchat.represent.events import Events, add_up, common, events_of
from fusionchat.represent.topk import Scored


class Compared(NamedTuple):
    """How models score the units, over the events that all models compared in a unit score.

    Attributes:
        ce: float64 [M, U], bits per UTF-8 byte or nats per token; NaN for a model that is not compared in the unit.
        shared: bool [N], rows of the pivot in which all models were compared.
    """

    ce: Float[np.ndarray, "M U"]
    shared: Bool[np.ndarray, " N"]


def unit_of_row(events: Events, per: Per, turns: int) -> Int[np.ndarray, " N"]:
    """The unit of each row: its conversation, its turn (conversation * turns + turn), or itself."""
    if per == "token":
        return np.arange(len(events.turn), dtype=np.int64)
    return events.conversation if per == "conversation" else events.conversation * turns + events.turn


def score_units(captures: Sequence[Scored], rule: BaseRule, bytes_CT: Int[np.ndarray, "C T"]) -> Compared:
    """CE of every model on each conversation or turn, from the models' own captures.

    CE_m(x) = -sum_i log2 p_m(x_i | x_<i) / bytes(x) over the tokens i of model m in the regions of x that the tokens of
    all models tile (`fusionchat.represent.events`); bytes(x) is as in `fusionchat.represent.bits`. In nats per token the
    sum is divided by the number of these tokens. A model that shares no region with the pivot in a unit is not compared
    there.
    """
    (count, turns), models = bytes_CT.shape, [events_of(model.tokens, bytes_CT) for model in captures]
    units = [unit_of_row(events, rule.per, turns) for events in models]
    size = count if rule.per == "conversation" else count * turns
    meets_MU = np.ones((len(models), size), dtype=bool)
    for m in range(1, len(models)):
        with_pivot = common([models[0], models[m]])[1]
        meets_MU[m] = add_up(with_pivot, units[m], size) > 0
    masks = common(models, units, meets_MU)
    ce_MU = np.stack([
        _ce(-model.label_logprob[mask].astype(np.float64), events.bytes[mask], unit[mask], size, rule)
        for model, events, unit, mask in zip(captures, models, units, masks, strict=True)
    ])  # fmt: skip
    everybody_U = np.logical_and.reduce(meets_MU)
    return Compared(ce_MU, masks[0] & everybody_U[units[0]])


def score_rows(aligned: Sequence[Scored], rule: BaseRule, bytes_CT: Int[np.ndarray, "C T"]) -> Compared:
    """CE of every model on each of the pivot's rows, from their distributions there; NaN if unaligned."""
    events = events_of(aligned[0].tokens, bytes_CT)
    rows = np.arange(len(events.turn), dtype=np.int64)
    ce_MN = np.stack([
        _ce(-model.label_logprob.astype(np.float64), events.bytes, rows, len(rows), rule) for model in aligned
    ])  # fmt: skip
    return Compared(ce_MN, ~np.isnan(ce_MN).any(axis=0))


def _ce(
    nats_N: Float[np.ndarray, " N"],
    bytes_N: Int[np.ndarray, " N"],
    unit_N: Int[np.ndarray, " N"],
    units: int,
    rule: BaseRule,
) -> Float[np.ndarray, " U"]:
    """Rows' nats in the rule's unit, by unit; NaN where there is no row."""
    rows = add_up(np.ones(len(unit_N)), unit_N, units)
    nats = add_up(nats_N, unit_N, units)
    if rule.unit == "bits_per_byte":
        nats, length = nats / NATS_PER_BIT, np.maximum(add_up(bytes_N, unit_N, units), 1.0)
    else:
        length = rows
    return np.divide(nats, length, out=np.full(units, np.nan), where=rows > 0)
