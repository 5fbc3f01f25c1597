"""Every table of a report except results, for terminal, Markdown and HTML.

Results are in `fusionchat.report.results`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, overload

from fusionchat.evaluate.noise import Gain, Gains
from fusionchat.evaluate.statistics import Breakdown, Estimate
from fusionchat.report import text
from fusionchat.report.figures import MergedTensor
from fusionchat.report.model import Over, Report, Row
from fusionchat.units import duration, size, weight_text

Tone = Literal["", "gain", "loss", "text", "words"]
MARKS: dict[Tone, str] = {"gain": "▲", "loss": "▼"}
OVERALL = "overall"
SIDES: tuple[Over, ...] = ("sft", "soup")


class Cell(NamedTuple):
    """A cell's text, whether it is the best of its column, and its tone.

    A tone is a clear gain or loss, text, or words that may be wrapped.
    """

    text: str
    best: bool = False
    tone: Tone = ""

    @property
    def mark(self) -> str:
        """The mark before a clear gain or loss, for readers who see no colour; "" for others."""
        return MARKS.get(self.tone, "")


class Table(NamedTuple):
    """A table: its first column names the rows, the others are figures unless their cells are text.

    ``strong`` is the index of the highlighted row (the fused model); None for no row.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    strong: int | None = None

    @property
    def aligned_left(self) -> tuple[bool, ...]:
        """For each column whether it is text: the first one, and those without figures."""
        columns = zip(*(row[1:] for row in self.rows), strict=True)
        texts = [all(cell.tone in ("text", "words") for cell in column) for column in columns]
        return (True, *(texts or [False] * (len(self.columns) - 1)))


def pair_table(report: Report) -> Table:
    """How each source was aligned."""
    columns = (
        "source",
        "vocabulary",
        "rows",
        "exact",
        "inside",
        "unaligned",
        "mass kept",
        "retention",
        "of the map alone",
        "time",
    )
    rows = tuple(
        tuple(
            Cell(part)
            for part in (
                pair.label,
                pair.method or text.NONE,
                text.count(pair.rows),
                text.percent(pair.exact),
                text.percent(pair.inside),
                text.percent(pair.unaligned),
                text.percent(pair.mass_kept),
                text.NONE if pair.retention is None else f"{pair.retention:.3f}",
                text.NONE if pair.map_retention is None else f"{pair.map_retention:.3f}",
                duration(pair.seconds),
            )
        )
        for pair in report.pairs
    )
    caption = (
        "Shares of the pivot's supervised tokens. Mass kept: on the k kept tokens of aligned rows. Retention: bits per "
        "byte of the source's own likelihood divided by that of its distributions after alignment, on aligned rows; "
        "1 = nothing lost. Of the map alone: without the observed path, which makes the label's share exact."
    )
    return Table("Alignment", columns, rows, caption)


def choice_table(report: Report) -> Table:
    """Which model's distributions each fusion chose, by domain."""
    models = tuple(dict.fromkeys(model for choice in report.choices for model in choice.models))
    rows = [
        (
            Cell(f"{choice.label}: {domain}"),
            *(Cell(_share(choice.models, shares, model)) for model in models),
        )
        for choice in report.choices
        for domain, shares in choice.won.items()
    ]
    caption = "Share of a conversation's tokens whose distributions came from each model, averaged over conversations."
    return Table("Fusion choices", ("target: domain", *models), tuple(rows), caption)


def entry_table(report: Report) -> Table:
    """What each entry of the corpus contributed, and what it left out, by reason."""
    reasons = tuple(dict.fromkeys(reason for entry in report.entries for reason in entry.left))
    rows = tuple(
        (
            Cell(entry.label),
            Cell(f"{entry.records:,}"),
            *(Cell(_number(entry.left.get(reason, 0))) for reason in reasons),
            Cell(f"{entry.rejected:,}"),
            Cell(f"{entry.used:,}"),
        )
        for entry in report.entries
    )
    return Table("Corpus", ("entry", "records", *reasons, "rejected", "used"), rows)


def _number(count: int | None) -> str:
    return "not counted" if count is None else f"{count:,}"


def reject_table(report: Report) -> Table:
    """Records that could not be used, by reason."""
    rows = tuple(
        (
            Cell(f"{r.where}: {r.reason}"),
            Cell(f"{r.count:,}"),
            Cell(text.percent(r.count / r.of if r.of else None)),
        )
        for r in report.rejects
    )
    return Table("Rejected records", ("where: reason", "records", "share"), rows)


def tensor_table(report: Report) -> Table:
    """The fused model's merge, tensor by tensor."""
    names = report.tensor_targets
    columns = ["tensor"]
    for title, shown in (("weight", True), ("rms", True), ("kept", any(t.kept for t in report.tensors))):
        columns += [f"{title} {name}" for name in names] if shown else []
    columns += ["lowest cosine", "sign conflicts", "fused rms", "rounding loss"]
    columns += ["ties"] if any(any(t.ties) for t in report.tensors) else []
    rows = tuple(_tensor_row(t, len(names), columns) for t in report.tensors)
    caption = (
        "rms: root mean square change against the pivot. Cosine: between the changes of two targets. Sign conflicts: "
        "elements that one target raises and another lowers. Rounding loss: error of storing over the fused change."
    )
    return Table("Tensors", tuple(columns), rows, caption)


def file_table(report: Report) -> Table:
    """The weight files that the fused model was merged from, and its own, with their checksums."""
    rows = tuple(
        (
            Cell(f.model),
            Cell(f.name, tone="text"),
            Cell(size(f.bytes)),
            Cell(f.sha256 or "not computed", tone="words"),
            Cell(f.source or text.NONE, tone="text"),
        )
        for f in report.merge_files
    )
    caption = (
        "Known from: read = the whole file was read; manifest.json = the run that made the file; "
        "merge_weights.json = the merge that made it; hub cache = the hub's own checksum, which is the "
        "file's name in the cache."
    )
    return Table("Files", ("model", "file", "size", "SHA-256", "known from"), rows, caption)


def _tensor_row(tensor: MergedTensor, targets: int, columns: Sequence[str]) -> tuple[Cell, ...]:
    def each(values: Sequence[float], form: str) -> list[str]:
        return [f"{v:{form}}" for v in values] if values else [text.NONE] * targets

    cosines = [c for c in tensor.cosine if c is not None]
    parts = [tensor.name, *each(tensor.weights, ".3f"), *each(tensor.rms, ".2e")]
    parts += each(tensor.kept, ".1%") if any(c.startswith("kept") for c in columns) else []
    parts += [f"{min(cosines):.3f}" if cosines else text.NONE, text.percent(tensor.conflicts)]
    parts += [f"{tensor.change_rms:.2e}", f"{tensor.rounding_loss:.1e}"]
    parts += [str(sum(tensor.ties))] if columns[-1] == "ties" else []
    return tuple(map(Cell, parts))


def sweep_table(report: Report) -> Table:
    """Label weights tried on the validation part."""
    metric = report.metrics[0]
    places = text.decimals([point.value for point in report.sweep], metric)
    rows = tuple(
        (
            Cell(point.label),
            Cell(weight_text(point.label_weight)),
            Cell(text.estimate(point.value, metric, places), best=point.chosen),
        )
        for point in report.sweep
    )
    caption = "Chosen on the validation part; the test part was not used."
    return Table("Label weights", ("model", "label weight", f"validation {metric.column}"), rows, caption)


def trial_table(report: Report) -> Table:
    """Merges tried by the search, in order, with the reason for those that failed."""
    failed, metric = sum(t.value is None for t in report.trials), report.trial_metric
    assert metric is not None, "trials are compared by something"
    columns = ("merge", f"validation {metric.column}", "time", *(("failed because",) if failed else ()))
    rows = []
    for t in report.trials:
        score = text.NONE if t.value is None else f"{t.value * metric.scale:.{metric.places + 1}f}"
        row = (Cell(t.label), Cell(score, best=t.chosen), Cell(duration(t.seconds)))
        rows.append((*row, Cell(t.reason, tone="words")) if failed else row)
    caption = "Tried on the validation part without any training; the test part was not used."
    if failed:
        caption += f" {failed} of {len(report.trials)} could not be merged or scored."
    return Table("Merge search", columns, tuple(rows), caption)


def time_table(report: Report) -> Table:
    """Wall time of every stage."""
    seconds: Counter[str] = Counter()
    jobs: Counter[str] = Counter()
    for part in report.stages:
        seconds[part.stage] += part.seconds  # type: ignore[assignment]
        jobs[part.stage] += 1
    total = float(sum(seconds.values()))
    rows = [
        (
            Cell(stage),
            Cell(str(jobs[stage])),
            Cell(duration(took)),
            Cell(text.percent(took / total if total else 0)),
        )
        for stage, took in seconds.items()
    ]
    rows.append((Cell("all"), Cell(str(sum(jobs.values()))), Cell(duration(total)), Cell(text.percent(1.0))))
    return Table("Time", ("stage", "jobs", "wall time", "share"), tuple(rows))


@overload
def pick(breakdown: None, domain: str) -> None: ...


@overload
def pick(breakdown: Breakdown, domain: str) -> Estimate | None: ...


@overload
def pick(breakdown: Gains, domain: str) -> Gain | None: ...


def pick(breakdown: Breakdown | Gains | None, domain: str) -> Estimate | Gain | None:
    """The overall estimate or a domain's."""
    if breakdown is None:
        return None
    return breakdown.overall if domain == OVERALL else breakdown.domains.get(domain)


def strong(rows: Sequence[Row], report: Report) -> int | None:
    """The index of the fused model's row; None if it has none."""
    return next((i for i, row in enumerate(rows) if row.label == report.fused), None)


def _share(models: Sequence[str], shares: Sequence[float], model: str) -> str:
    return text.percent(shares[models.index(model)], 0) if model in models else text.NONE
