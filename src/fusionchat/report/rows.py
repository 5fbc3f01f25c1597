# C conversations, R trainings that differ in their seeds alone
"""The rows of a report: each model, and its gains over SFT and SFT's soup.

A row may be the mean of several trainings.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.noise import Gains, Runs, Side
from fusionchat.evaluate.scores import Items, Scores
from fusionchat.report.model import Result, Row, RowKind


class Trained(NamedTuple):
    """A model, or several that differ only in their seeds.

    Attributes:
        label: The label of its row.
        kind: What it is.
        runs: The scores of each.
        note: How it was made, in a few words.
    """

    label: str
    kind: RowKind
    runs: tuple[Scores, ...]
    note: str = ""


Found = Mapping[str, Mapping[str, Gains]]
"""Gains over SFT (or its soup) by metric and label."""


def make_rows(models: Sequence[Trained], fused: str, metrics: Sequence[Metric]) -> tuple[Row, ...]:
    """All rows in the order of the models; SFT's seeds come before their mean.

    Args:
        models: The models that were evaluated.
        fused: Label of the fused model, whose spread is used for SFT too if SFT was trained once.
        metrics: The metrics; every model has the same items of each.
    """
    over_sft: Found = {metric.name: gains(models, metric, fused, "sft") for metric in metrics}
    over_soup: Found = {metric.name: gains(models, metric, fused, "soup") for metric in metrics}
    row = partial(_row, metrics=metrics)
    rows: list[Row] = []
    for model in models:
        if model.kind == "sft" and len(model.runs) > 1:
            rows += [
                row(model._replace(label=f"{model.label} seed {n}", runs=(run,), note=""), {}, {})
                for n, run in enumerate(model.runs, 1)
            ]
        rows.append(row(model, over_sft, over_soup))
    return tuple(rows)


def gains(models: Sequence[Trained], metric: Metric, fused: str, over: RowKind) -> dict[str, Gains]:
    """The gain of every model over SFT or its soup in a metric, by label; empty if there is no such row.

    A soup averages the parameters of s trainings. If the loss is quadratic around them, its variance is at
    most that of their mean, a training's over s, which is used for it; the difference between soup and mean
    varies less than either (docs/decisions/training_noise.md).
    """
    base = next((model for model in models if model.kind == over), None)
    if base is None:
        return {}
    items = _items(models, metric)
    repeated = _repeated(models, fused)
    known_RC = None if repeated is None else _values(repeated, metric)
    sides = {m.label: _side(m, metric, known_RC, own=m is not repeated) for m in models}
    trainings = next((len(model.runs) for model in models if model.kind == "sft"), 1)
    found = {}
    for model in models:
        if model.label == base.label:
            continue
        ours, theirs = sides[model.label], sides[base.label]
        pair = {model.kind, base.kind} == {"sft", "soup"}
        ours = _soup(ours, trainings, pair) if model.kind == "soup" else ours
        theirs = _soup(theirs, trainings, pair) if base.kind == "soup" else theirs
        found[model.label] = metric.gains(ours, theirs, items.sizes, items.domains)
    return found


def _repeated(models: Sequence[Trained], fused: str) -> Trained | None:
    """The model whose runs show the noise of unrepeated trainings: SFT, else the fused model."""
    able = [model for model in models if len(model.runs) > 1]
    chosen = next((model for model in able if model.kind == "sft"), None)
    return chosen or next((model for model in able if model.label == fused), None)


def _side(model: Trained, metric: Metric, known_RC: Runs | None, *, own: bool) -> Side:
    """A side of a comparison; its noise comes from its own runs if ``own`` is set and it has several."""
    scores_RC = _values(model, metric)
    mean_C, trainings = scores_RC.mean(axis=0), len(scores_RC)
    if model.kind in ("pivot", "source"):
        return Side(mean_C)
    return Side(mean_C, 1 / trainings, scores_RC if own and trainings > 1 else known_RC)


def _soup(side: Side, trainings: int, pair: bool) -> Side:
    """The soup's side; beside the mean of its own trainings it has no noise of its own."""
    return Side(side.scores_C) if pair else side._replace(share=1 / trainings)


def _items(models: Sequence[Trained], metric: Metric) -> Items:
    """The items of a metric, which all models share; raises AssertionError if they do not."""
    first = models[0].runs[0].items[metric.name]
    ids = {run.items[metric.name].ids for model in models for run in model.runs}
    assert ids == {first.ids}, f"{metric.name} was measured on different items"
    return first


def _values(model: Trained, metric: Metric) -> Runs:
    return np.stack([run.items[metric.name].values for run in model.runs])


def _row(model: Trained, over_sft: Found, over_soup: Found, *, metrics: Sequence[Metric]) -> Row:
    first, results = model.runs[0], {}
    for metric in metrics:
        items = first.items[metric.name]
        value = metric.breakdown(_values(model, metric).mean(axis=0), items.sizes, items.domains)
        own = [found.get(metric.name, {}).get(model.label) for found in (over_sft, over_soup)]
        results[metric.name] = Result(value, *own)
    return Row(model.label, model.kind, first.parameters, results, model.note)
