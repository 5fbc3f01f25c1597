"""The content of a report, in order: headline, key figures and sections; pages only format it."""

from dataclasses import dataclass
from typing import NamedTuple

from fusionchat.evaluate.metric import Metric, capital
from fusionchat.report import plots, results, svg, tables, text, timeline
from fusionchat.report.advice import advice
from fusionchat.report.captures import capture_tables
from fusionchat.report.headline import headline
from fusionchat.report.model import Over, Report, Row
from fusionchat.report.plots import Plot
from fusionchat.report.tables import Table
from fusionchat.report.trainings import training_plots, training_table
from fusionchat.units import counted, duration


class Fact(NamedTuple):
    """One key figure."""

    name: str
    figure: str
    small: str


class Key(NamedTuple):
    """An entry of a legend: a colour's role and its meaning."""

    role: str
    name: str


@dataclass(frozen=True)
class Part:
    """A piece of a section: figures, a table or preformatted text.

    A table may be collapsed behind ``folded``.
    """

    title: str = ""
    key: tuple[Key, ...] = ()
    plots: tuple[Plot, ...] = ()
    table: Table | None = None
    folded: str = ""
    code: str = ""


@dataclass(frozen=True)
class Section:
    """A titled section."""

    anchor: str
    title: str
    text: str
    parts: tuple[Part, ...]


class Content(NamedTuple):
    """The full content of a page, with figures drawn."""

    headline: str
    advice: tuple[str, ...]
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    versions: str

    @property
    def plots(self) -> list[Plot]:
        """All figures."""
        return [plot for section in self.sections for part in section.parts for plot in part.plots]


def content(report: Report) -> Content:
    """The content of a report's pages."""
    said = tuple(one.text for one in advice(report))
    return Content(headline(report), said, tuple(facts(report)), tuple(sections(report)), versions(report))


def facts(report: Report) -> list[Fact]:
    """The figures that a reader looks for first."""
    row = report.row(report.fused)
    found = [fact for metric in report.metrics if row for fact in _metric_facts(report, row, metric)]
    if row and row.parameters is not None:
        found.append(Fact("parameters", text.count(row.parameters), "those of the pivot"))
    kept = [pair for pair in report.pairs if pair.retention is not None]
    if kept:
        worst = min(kept, key=lambda pair: pair.retention or 0.0)
        found.append(Fact("lowest retention", f"{worst.retention:.3f}", f"of {worst.label} after alignment"))
    if report.stages:
        found.append(Fact("wall time", duration(sum(s.seconds for s in report.stages)), "of all stages"))
    return found


def _metric_facts(report: Report, row: Row, metric: Metric) -> list[Fact]:
    value = row.value(metric)
    if value is None:
        return []
    unit = "" if metric.unit == metric.title else f" {metric.unit}"
    places = text.decimals([value.overall], metric)
    others = [r for r in report.rows if r.label in (report.baseline, "pivot") or r.kind == "pivot"]
    beside = ", ".join(
        f"{r.label} {v.overall.value * metric.scale:.{places}f}" for r in others if (v := r.value(metric))
    )
    found = [Fact(metric.title, text.estimate(value.overall, metric, places) + unit, beside)]
    for over in tables.SIDES:
        gain = row.gain(metric, over)
        if gain is not None:
            size = text.estimate(gain.overall, metric, text.decimals([gain.overall], metric), signed=True)
            clear = "" if gain.overall.is_clear else ", not clear"
            found.append(Fact(f"gain over {report.over(over)}", size, metric.gained + clear))
    return found


def sections(report: Report) -> list[Section]:
    """All sections that have content."""
    made = [
        _results(report),
        _gains(report, "sft"),
        _gains(report, "soup"),
        _captures(report),
        _alignment(report),
        _choices(report),
        _trainings(report),
        _weights(report),
    ]
    made += [
        _sweep(report),
        _search(report),
        _corpus(report),
        _rejects(report),
        _time(report),
        _recipe(report),
    ]
    return [section for section in made if section is not None]


def _results(report: Report) -> Section:
    parts = [Part(table=results.overall_table(report))]
    if report.baseline and report.row(report.fused):
        parts.append(Part("What could be seen", table=results.seen_table(report)))
    for metric in report.metrics:
        title = f"{capital(metric.title)} by domain"
        table = results.domain_table(report, metric)
        if report.domains:
            key, panels = _row_key(report), tuple(plots.score_plots(report, metric))
            parts.append(Part(title, key, panels, table, folded="The same as a table"))
    return Section("results", "Results", "", tuple(parts))


def _row_key(report: Report) -> tuple[Key, ...]:
    names = {
        "pivot": "pivot",
        "source": "source",
        "adapted": "source",
        "sft": "fine-tuned pivot (SFT) and its soup",
        "self": "self-distilled pivot",
        "target": "target",
        "merge": "merge",
    }
    shown = [row.kind for row in report.rows if row.label != report.fused]
    kinds = dict.fromkeys("sft" if kind == "soup" else kind for kind in shown)
    keys = [Key(plots.KIND_ROLES[kind], names[kind]) for kind in kinds]
    if report.row(report.fused):
        keys.append(Key("fused", f"{report.fused}, the fused model"))
    return tuple(keys)


def _gains(report: Report, over: Over) -> Section | None:
    metrics = [m for m in report.metrics if any(row.gain(m, over) for row in report.rows)]
    if not metrics:
        return None
    key = (Key("gain", "gain"), Key("loss", "loss"))
    parts = [
        Part(
            capital(metric.title) if len(metrics) > 1 else "",
            key,
            tuple(plots.gain_plots(report, metric, over)),
            results.gain_table(report, metric, over),
            folded="The same as a table" if over == "sft" else "All models as a table",
        )
        for metric in metrics
    ]
    against = {
        "sft": f"What each model made by fusion gains over {report.baseline}, the pivot fine-tuned on the labels of the same "
        "corpus",
        "soup": f"What the fused model gains over the {report.soup}, the average of the parameters of {report.sft_seeds} such "
        "pivots, which costs no more to run",
    }
    errors = "one standard error of the paired difference"
    errors += ", training noise included" if text.noise(report) else " from sampling alone"
    said = (
        f"{against[over]}, on the same held-out conversations. Lines are {errors}; bars are pale where a 95 % "
        "interval by Student's t includes zero."
    )
    return Section(
        "gains" if over == "sft" else "soup", f"Gain over {report.over(over)} by domain", said, tuple(parts)
    )


def _captures(report: Report) -> Section | None:
    if not report.captures:
        return None
    said = (
        "What scored the training text, how far it is from plain transformers in float32 on a few "
        "conversations, and how certain each model is."
    )
    first, *others = capture_tables(report)
    parts = (Part(table=first), *(Part(made.title, table=made) for made in others))
    return Section("captures", "Captures", said, parts)


def _alignment(report: Report) -> Section | None:
    if not report.pairs:
        return None
    said = "How each source's distributions were mapped to the pivot's tokens, and what was lost."
    return Section("alignment", "Alignment", said, (Part(table=tables.pair_table(report)),))


def _choices(report: Report) -> Section | None:
    if not report.choices:
        return None
    rules = ", ".join(dict.fromkeys(choice.rule for choice in report.choices))
    fallback = "; ".join(f"{c.label} {text.percent(c.fallback)}" for c in report.choices)
    said = (
        f"Whose distributions each target learned from ({rules}). Unaligned tokens fell back to the pivot's "
        f"distribution and count as the pivot's: {fallback}."
    )
    part = Part("", (), tuple(plots.choice_plots(report)), tables.choice_table(report), "The same as a table")
    return Section("choices", "Fusion choices", said, (part,))


def _trainings(report: Report) -> Section | None:
    if not report.trainings:
        return None
    said = "How each training went, step by step; metrics.jsonl in its folder has every figure."
    key = tuple(
        Key(f"series-{number % svg.SERIES + 1}", one.label) for number, one in enumerate(report.trainings)
    )
    part = Part(
        "", key, tuple(training_plots(report)), training_table(report), "Where each ended, as a table"
    )
    return Section("trainings", "Trainings", said, (part,))


def _weights(report: Report) -> Section | None:
    if not report.weights and not report.tensors:
        return None
    parts = []
    for merge in report.weights:
        panels = tuple(plots.weight_plots(merge))
        parts.append(Part(f"{merge.label} ({merge.method})" if merge.method else merge.label, (), panels))
    if report.tensors:
        parts.append(
            Part(table=tables.tensor_table(report), folded=f"All {counted(len(report.tensors), 'tensor')}")
        )
    if report.merge_files:
        parts.append(Part(table=tables.file_table(report), folded="Files read and written, with checksums"))
    said = (
        "The share of each target in every part of the fused model. Experts of one layer are averaged; the "
        "column - is everything outside the layers."
        if report.weights
        else (
            f"This merge ({report.merge}) decides element by element, so no target has a single share of a "
            "tensor to plot. The table shows what it did to each tensor."
        )
    )
    return Section("weights", "Merge weights", said, tuple(parts))


def _sweep(report: Report) -> Section | None:
    if not report.sweep:
        return None
    said = "The weight of the label against the fused distribution in the loss, and the results."
    return Section("sweep", "Label weights", said, (Part(table=tables.sweep_table(report)),))


def _search(report: Report) -> Section | None:
    if not report.trials:
        return None
    said = "Other merges of the same targets, and their results on the validation part."
    part = Part("", (), tuple(plots.trial_plots(report)), tables.trial_table(report), "The same as a table")
    return Section("search", "Merge search", said, (part,))


def _corpus(report: Report) -> Section | None:
    if not report.entries:
        return None
    said = (
        "How many records each entry of the corpus has, and how many its filter, limit and share leave out."
    )
    return Section("corpus", "Corpus", said, (Part(table=tables.entry_table(report)),))


def _rejects(report: Report) -> Section | None:
    if not report.rejects:
        return None
    said = "Records that could not be used, and why. Every unused record, and every unused key of a used record, is counted here."
    return Section("rejects", "Rejected records", said, (Part(table=tables.reject_table(report)),))


def _time(report: Report) -> Section | None:
    if not report.stages:
        return None
    parts = [Part(table=tables.time_table(report))]
    if report.spans:
        key = tuple(Key(role, stage) for stage, role in timeline.roles(report.spans).items())
        drawn = (timeline.timeline_plot(report.spans),)
        parts.append(Part("By node", key, drawn, timeline.node_table(report.spans), "The same as a table"))
    return Section("time", "Time", "", tuple(parts))


def _recipe(report: Report) -> Section | None:
    return Section("recipe", "Recipe", "", (Part(code=report.recipe),)) if report.recipe else None


def versions(report: Report) -> str:
    """The versions that made the report, in one line."""
    return " · ".join(f"{name} {version}" for name, version in report.versions.items())
