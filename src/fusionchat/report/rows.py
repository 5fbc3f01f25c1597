# C conversations, R trainings that differ in their seeds alone
"""The rows of a report: each model, or the mean of its trainings, and its gains over SFT and SFT's soup."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fusionchat.evaluate.noise import Gains, Runs, Side, bits_per_byte_gain, exact_match_gain
from fusionchat.evaluate.scores import Scores
from fusionchat.evaluate.statistics import bits_per_byte, exact_match
from fusionchat.report.model import Row, RowKind


class Trained(NamedTuple):
    """A model, or several that differ in their seeds alone.

    Attributes:
        label: What its row is called.
        kind: What it is.
        runs: The scores of each.
        note: How it was made, in a few words.
    """

    label: str
    kind: RowKind
    runs: tuple[Scores, ...]
    note: str = ""


class Measure(NamedTuple):
    """A metric: the scores [R, C] of a model's runs, and how two sides are compared."""

    scores: Callable[[Trained], Runs]
    compare: Callable[[Side, Side], Gains]


def make_rows(models: Sequence[Trained], fused: str) -> tuple[Row, ...]:
    """All rows in the order of the models; SFT's seeds come before their mean.

    Args:
        models: What was evaluated.
        fused: Label of the fused model, whose spread is that of SFT, too, where SFT was trained once.
    """
    first = models[0].runs[0]
    asked = [i for i, right in enumerate(first.correct) if right is not None]
    domains = [first.domains[i] for i in asked]
    bits = Measure(_bits, lambda ours, theirs: bits_per_byte_gain(ours, theirs, first.sizes, first.domains))
    match = Measure(
        lambda model: _right(model, asked), lambda ours, theirs: exact_match_gain(ours, theirs, domains)
    )
    bits_gains = [gains(models, bits, fused, over) for over in ("sft", "soup")]
    match_gains = [gains(models, match, fused, over) if asked else {} for over in ("sft", "soup")]
    rows: list[Row] = []
    for model in models:
        if model.kind == "sft" and len(model.runs) > 1:
            rows += [
                _row(model._replace(label=f"{model.label} seed {n}", runs=(run,), note=""), asked)
                for n, run in enumerate(model.runs, 1)
            ]
        rows.append(_row(model, asked, *(found.get(model.label) for found in (*bits_gains, *match_gains))))
    return tuple(rows)


def gains(models: Sequence[Trained], measure: Measure, fused: str, over: RowKind) -> dict[str, Gains]:
    """The gain of every model over SFT or its soup, by label; none where there is no such row.

    A soup averages the parameters of s trainings. Where the loss is quadratic around them its variance is at most
    that of their mean, a training's over s, which is taken for it; the difference between soup and mean varies less
    than either (docs/decisions/training_noise.md).
    """
    base = next((model for model in models if model.kind == over), None)
    if base is None:
        return {}
    repeated = _repeated(models, fused)
    known_RC = None if repeated is None else measure.scores(repeated)
    sides = {m.label: _side(m, measure, known_RC, own=m is not repeated) for m in models}
    trainings = next((len(model.runs) for model in models if model.kind == "sft"), 1)
    found = {}
    for model in models:
        if model.label == base.label:
            continue
        ours, theirs = sides[model.label], sides[base.label]
        pair = {model.kind, base.kind} == {"sft", "soup"}
        ours = _soup(ours, trainings, pair) if model.kind == "soup" else ours
        theirs = _soup(theirs, trainings, pair) if base.kind == "soup" else theirs
        found[model.label] = measure.compare(ours, theirs)
    return found


def _repeated(models: Sequence[Trained], fused: str) -> Trained | None:
    """The model whose runs show the noise of trainings that were made once: SFT, else the fused model."""
    able = [model for model in models if len(model.runs) > 1]
    chosen = next((model for model in able if model.kind == "sft"), None)
    return chosen or next((model for model in able if model.label == fused), None)


def _side(model: Trained, measure: Measure, known_RC: Runs | None, *, own: bool) -> Side:
    """A side whose noise is known from its own runs, where ``own`` is set and it has several."""
    scores_RC = measure.scores(model)
    mean_C, trainings = scores_RC.mean(axis=0), len(scores_RC)
    if model.kind in ("pivot", "source"):
        return Side(mean_C)
    return Side(mean_C, 1 / trainings, scores_RC if own and trainings > 1 else known_RC)


def _soup(side: Side, trainings: int, pair: bool) -> Side:
    """The soup's side; beside the mean of its own trainings it has no noise that the mean does not have."""
    return Side(side.scores_C) if pair else side._replace(share=1 / trainings)


def _bits(model: Trained) -> Runs:
    return np.stack([run.bits for run in model.runs]).astype(np.float64)


def _right(model: Trained, asked: Sequence[int]) -> Runs:
    return np.array([[float(bool(run.correct[i])) for i in asked] for run in model.runs])


def _row(
    model: Trained,
    asked: Sequence[int],
    bits_gain: Gains | None = None,
    bits_over_soup: Gains | None = None,
    match_gain: Gains | None = None,
    match_over_soup: Gains | None = None,
) -> Row:
    first = model.runs[0]
    domains = [first.domains[i] for i in asked]
    return Row(
        label=model.label,
        kind=model.kind,
        parameters=first.parameters,
        bits_per_byte=bits_per_byte(_bits(model).mean(axis=0), first.sizes, first.domains),
        exact_match=exact_match(_right(model, asked).mean(axis=0), domains) if asked else None,
        bits_gain=bits_gain,
        match_gain=match_gain,
        bits_over_soup=bits_over_soup,
        match_over_soup=match_over_soup,
        note=model.note,
    )
