"""The data of a report: each model's results, and the figures of the stages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.noise import Gains
from fusionchat.evaluate.statistics import Breakdown
from fusionchat.report.figures import (
    Captured,
    Choice,
    CorpusEntry,
    MergedTensor,
    MergeFile,
    MergeTrial,
    MergeWeights,
    Pair,
    Reject,
    Span,
    StageTime,
    SweepPoint,
    TrainingCourse,
)

RowKind = Literal["pivot", "source", "adapted", "sft", "soup", "self", "target", "merge"]
Over = Literal["sft", "soup"]


class Result(NamedTuple):
    """One model's figure in a metric.

    Attributes:
        value: The figure, overall and by domain.
        over_sft: The model's paired gain over SFT, positive if it is better; None for SFT itself.
        over_soup: The same over SFT's soup; None without one.
    """

    value: Breakdown
    over_sft: Gains | None = None
    over_soup: Gains | None = None


@dataclass(frozen=True)
class Row:
    """One model's results.

    Attributes:
        label: Its name in every table.
        kind: What it is: the pivot, a source, the pivot after plain fine-tuning, the average of the
            parameters of several such, the pivot distilled from itself, a target, a merge of targets.
        parameters: Number of parameters; None if unknown.
        results: Results by the metric's name; a metric that was not measured is missing.
        note: How it was made, in a few words ("label weight 0.5").
    """

    label: str
    kind: RowKind
    parameters: int | None = None
    results: Mapping[str, Result] = field(default_factory=dict)
    note: str = ""

    def value(self, metric: Metric) -> Breakdown | None:
        """The results in a metric."""
        found = self.results.get(metric.name)
        return None if found is None else found.value

    def gain(self, metric: Metric, over: Over = "sft") -> Gains | None:
        """The gain over SFT or its soup in a metric, positive if this model is better."""
        found = self.results.get(metric.name)
        if found is None:
            return None
        return found.over_sft if over == "sft" else found.over_soup


@dataclass(frozen=True)
class Report:
    """A whole run.

    Attributes:
        name: The run's name.
        created: When it was made, ISO 8601.
        metrics: The metrics, the one that the run is judged by first.
        rows: All models, in the order of the tables.
        baseline: Label of SFT's row, the mean of its seeds; "" if there is none.
        soup: Label of the row of SFT's soup; "" if there is none.
        sft_seeds: How many times SFT was trained.
        seeds: How many times each target was trained.
        fused: Label of the row of the run's fused model.
        label_weight: The label's weight in that model's targets; None if unknown.
        merge: How that model was merged, in words: method and settings that differ from its defaults.
        domains: Domain names in the order of the tables.
        captures, pairs, choices, entries, rejects, weights, sweep, trials, trainings, stages: The stages'
        figures.
        spans: Who made what, and when, as far as it is known.
        tensors: The fused model's merge tensor by tensor; ``tensor_targets`` names the targets.
        merge_files: The files that this merge read and wrote.
        trial_metric: The metric in which the search's trials were compared.
        recipe: The recipe as it was given, YAML.
        versions: Versions of the packages that took part.
        notes: What a reader must know, one paragraph each.
    """

    name: str
    created: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    baseline: str
    fused: str
    merge: str = ""
    label_weight: float | None = None
    soup: str = ""
    sft_seeds: int = 1
    seeds: int = 1
    domains: tuple[str, ...] = ()
    captures: tuple[Captured, ...] = ()
    pairs: tuple[Pair, ...] = ()
    choices: tuple[Choice, ...] = ()
    entries: tuple[CorpusEntry, ...] = ()
    rejects: tuple[Reject, ...] = ()
    weights: tuple[MergeWeights, ...] = ()
    tensors: tuple[MergedTensor, ...] = ()
    tensor_targets: tuple[str, ...] = ()
    merge_files: tuple[MergeFile, ...] = ()
    sweep: tuple[SweepPoint, ...] = ()
    trials: tuple[MergeTrial, ...] = ()
    trial_metric: Metric | None = None
    trainings: tuple[TrainingCourse, ...] = ()
    stages: tuple[StageTime, ...] = ()
    spans: tuple[Span, ...] = ()
    recipe: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def row(self, label: str) -> Row | None:
        """The row with a label; None if there is none."""
        return next((row for row in self.rows if row.label == label), None)

    @property
    def compared(self) -> tuple[Row, ...]:
        """The rows without SFT's single seeds, which their mean represents."""
        return tuple(row for row in self.rows if row.kind != "sft" or row.label == self.baseline)

    @property
    def floored(self) -> tuple[Metric, ...]:
        """The metrics of tasks that are too hard for the pivot; they are shown but not used in comparisons."""
        return tuple(metric for metric in self.metrics if self.floor_words(metric))

    def floor_words(self, metric: Metric) -> str:
        """``it has 1.2 %, under 5 %`` if the pivot is below a metric's floor, else ""."""
        pivot = next((row for row in self.rows if row.kind == "pivot"), None)
        found = pivot.value(metric) if pivot is not None else None
        if found is None or found.overall.value >= metric.floor:
            return ""
        own, least = found.overall.value * metric.scale, metric.floor * metric.scale
        return f"it has {own:.{metric.places}f} {metric.unit}, under {least:g} {metric.unit}"

    def over(self, over: Over) -> str:
        """The label of SFT's row or its soup's; "" if there is no such row."""
        return self.baseline if over == "sft" else "soup" if self.soup else ""

    @property
    def primary(self) -> Metric | None:
        """The metric that the run is judged by; None if nothing was measured."""
        return self.metrics[0] if self.metrics else None
