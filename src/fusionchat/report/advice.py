"""Advice in words: what the figures of a run suggest to do next.

Each rule is a function of the report that yields sentences.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from fusionchat.evaluate.metric import Metric, capital
from fusionchat.evaluate.noise import Gain
from fusionchat.report import text
from fusionchat.report.model import Over, Report, Row
from fusionchat.units import weight_text

MOST = 5
"""The most sentences that are shown."""
FEW_ROWS = 0.05
LOW_RETENTION = 0.9
MANY_REJECTS = 0.1
LIGHT = 0.5
"""The advised label weight: in all measurements so far it gained more than 0.9."""


class Advice(NamedTuple):
    """A sentence and the name of its rule."""

    rule: str
    text: str


Rule = Callable[[Report], Iterator[str]]


def advice(report: Report) -> tuple[Advice, ...]:
    """What to do next, the most important first, in at most `MOST` sentences."""
    found = [Advice(rule.__name__, said) for rule in RULES for said in rule(report)]
    return tuple(found[:MOST])


def figure(value: float, metric: Metric) -> str:
    """A size in the metric's unit: ``0.0012 bits per byte``, ``1.2 percentage points``."""
    unit = "percentage points" if metric.unit == "%" else metric.unit
    return f"{abs(value) * metric.scale:.{metric.places + 1}f} {unit}"


def overall(report: Report, row: Row | None, over: Over = "sft") -> Gain | None:
    """A row's gain over SFT or its soup in the metric that the run is judged by; None if there is none."""
    gains = row.gain(report.primary, over) if row is not None and report.primary is not None else None
    return None if gains is None else gains.overall


def value(report: Report, row: Row | None) -> float | None:
    """A row's figure as a loss, of which less is better; None if there is none."""
    found = row.value(report.primary) if row is not None and report.primary is not None else None
    return None if found is None or report.primary is None else report.primary.loss(found.overall.value)


def fine_tuning_harms(report: Report) -> Iterator[str]:
    """SFT is clearly worse than the pivot that it began with."""
    for row in report.rows:
        gain = overall(report, row) if row.kind == "pivot" else None
        if gain is not None and report.primary is not None and gain.is_clear and gain.value > 0:
            yield (
                f"{report.baseline} is worse than the pivot it started from, by {figure(gain.value, report.primary)}: lower "
                "`distill.learning_rate`, or train on text more like the test part."
            )


def fusion_harms(report: Report) -> Iterator[str]:
    """The fused model is clearly worse than SFT."""
    gain = overall(report, report.row(report.fused))
    if gain is not None and report.primary is not None and gain.is_clear and gain.value < 0:
        yield (
            f"The fused model is worse than {report.baseline}, by {figure(gain.value, report.primary)}: raise "
            "`distill.label_weight`, or leave out the source with the lowest retention."
        )


def sources_do_not_know_the_text(report: Report) -> Iterator[str]:
    """Without a clear gain, when every source as published predicts the test worse than SFT does."""
    gain, sft = overall(report, report.row(report.fused)), value(report, report.row(report.baseline))
    sources = [value(report, row) for row in report.rows if row.kind == "source"]
    fitted = any(row.kind == "adapted" for row in report.rows)
    if gain is None or sft is None or not sources or fitted or (gain.is_clear and gain.value > 0):
        return
    if all(found is not None and found > sft for found in sources):
        yield f"No source predicts this text better than {report.baseline}: fine-tune them on the corpus first (`adapt: {{}}`)."


def no_better_than_the_soup(report: Report) -> Iterator[str]:
    """The average of SFT's seeds is as good."""
    gain = overall(report, report.row(report.fused), "soup")
    if gain is not None and gain.value <= 0:
        yield (
            f"The fused model is no better than the soup of {report.sft_seeds} SFT seeds, which needs no source: "
            "use the soup, or other sources."
        )


def no_better_than_a_target(report: Report) -> Iterator[str]:
    """A target is as good as the merge of all of them."""
    targets = [
        (v, row) for row in report.rows if row.kind == "target" if (v := value(report, row)) is not None
    ]
    own = value(report, report.row(report.fused))
    if own is None or len(targets) < 2:
        return
    best, row = min(targets, key=lambda one: one[0])
    if own >= best:
        yield (
            f"The merge is no better than its best target: use {row.label} alone, or let `search` try other merges."
        )


def gain_below_its_error(report: Report) -> Iterator[str]:
    """The gain over SFT is smaller than its standard error, or than its interval."""
    gain, metric = overall(report, report.row(report.fused)), report.primary
    if gain is None or metric is None or gain.se is None or gain.is_clear:
        return
    if abs(gain.value) < gain.se:
        lighter = report.label_weight is not None and report.label_weight > LIGHT
        yield (
            f"The gain over {report.baseline} ({figure(gain.value, metric)}) is below its error ({figure(gain.se, metric)}): "
            f"use more data{f', or a label weight of {LIGHT:g}' if lighter else ''}."
        )
    elif gain.t is not None and (gain.training_se or 0.0) ** 2 > gain.se**2 / 2:
        yield (
            f"The gain over {report.baseline} is not clear, mostly because trainings differ: with "
            f"{max(report.sft_seeds, report.seeds)} seeds it has to be {gain.t:.1f} times its error. Use more seeds."
        )
    elif gain.t is not None and gain.value:
        needed = round(gain.n * (gain.t * gain.se / gain.value) ** 2)
        yield (
            f"The gain over {report.baseline} is not clear, mostly because the test part is small: about {needed:,} dialogues "
            f"would show a gain of this size, it has {gain.n:,}."
        )


def nothing_was_repeated(report: Report) -> Iterator[str]:
    """Without a second training no gain can be called clear."""
    if report.baseline and not text.noise(report):
        yield "Nothing was trained twice, so no gain can be called clear: set `compare.sft_seeds` to 3."


def source_won_little(report: Report) -> Iterator[str]:
    """A source won few rows in every domain."""
    best: dict[str, float] = {}
    for choice in report.choices:
        for shares in choice.won.values():
            for model, share in zip(choice.models, shares, strict=True):
                best[model] = max(best.get(model, 0.0), share)
    for model, share in best.items():
        if model != "pivot" and share < FEW_ROWS:
            yield f"Source {model} won at most {text.percent(share, 0)} of the rows of any domain: leave it out."


def alignment_loses(report: Report) -> Iterator[str]:
    """A source's distributions lose much of its likelihood in the alignment to the pivot's tokens."""
    for pair in report.pairs:
        if pair.retention is not None and pair.retention < LOW_RETENTION:
            yield (
                f"Alignment loses much of source {pair.label} (retention {pair.retention:.2f}): try another `align.vocabulary`, "
                "or a source whose tokens are more like the pivot's."
            )


def self_is_as_good(report: Report) -> Iterator[str]:
    """The pivot distilled from itself is as good as the fused model."""
    own = value(report, report.row(report.fused))
    for row in report.rows:
        alone = value(report, row) if row.kind == "self" else None
        if own is not None and alone is not None and alone <= own:
            yield "Distilling the pivot from itself gains as much: the sources add nothing that this corpus shows."


def validation_and_test_disagree(report: Report) -> Iterator[str]:
    """The label weight that was chosen on validation is worse than another one on test."""
    tried = [
        (point, value(report, report.row(f"{point.label}, λ {weight_text(point.label_weight)}")))
        for point in report.sweep
    ]
    known = [(point, found) for point, found in tried if found is not None]
    chosen = next((found for point, found in known if point.chosen), None)
    if chosen is None:
        return
    best, found = min(known, key=lambda one: one[1])
    if found < chosen:
        own = next(point for point, _ in known if point.chosen)
        yield (
            f"Validation and test disagree: label weight {weight_text(own.label_weight)} was chosen, "
            f"{weight_text(best.label_weight)} is better on "
            "test. Use a larger validation part."
        )


def domains_are_lost(report: Report) -> Iterator[str]:
    """The fused model is clearly worse than SFT in some domains, though not overall."""
    row, metric = report.row(report.fused), report.primary
    gains = row.gain(metric) if row is not None and metric is not None else None
    if gains is None or (gains.overall.is_clear and gains.overall.value < 0):
        return
    lost = [name for name, gain in gains.domains.items() if gain.is_clear and gain.value < 0]
    if lost:
        yield (
            f"The fused model is worse than {report.baseline} in {', '.join(lost)}: keep the pivot's own distributions there "
            "(`fuse: {method: route}`)."
        )


def records_are_rejected(report: Report) -> Iterator[str]:
    """Many records of the corpus were not used for one reason."""
    for reject in report.rejects:
        if reject.where == "corpus" and reject.of and reject.count / reject.of > MANY_REJECTS:
            share = text.percent(reject.count / reject.of, 0)
            yield f"{share} of the records were not used ({reject.reason}): `fusionchat check` shows them."


def at_the_floor(report: Report) -> Iterator[str]:
    """A task is too hard for models of this size."""
    for metric in report.floored:
        yield (
            f"{capital(metric.title)} is too hard for the pivot ({report.floor_words(metric)}) and is not "
            "counted: leave it out, or use `right_answer` instead."
        )


RULES: tuple[Rule, ...] = (
    fine_tuning_harms,
    fusion_harms,
    sources_do_not_know_the_text,
    no_better_than_the_soup,
    no_better_than_a_target,
    gain_below_its_error,
    nothing_was_repeated,
    self_is_as_good,
    source_won_little,
    alignment_loses,
    validation_and_test_disagree,
    domains_are_lost,
    records_are_rejected,
    at_the_floor,
)
"""The most important first."""
