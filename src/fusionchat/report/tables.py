"""Every table of a report, once: the terminal, the Markdown and the HTML page only dress them."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, overload

from fusionchat.evaluate.metric import Metric, capital
from fusionchat.evaluate.noise import Gain, Gains
from fusionchat.evaluate.power import detectable
from fusionchat.evaluate.statistics import ENOUGH, Breakdown, Estimate
from fusionchat.report import text
from fusionchat.report.model import MergedTensor, Over, Report, Row
from fusionchat.units import counted, duration, size, weight_text

Tone = Literal["", "gain", "loss", "text", "words"]
MARKS: dict[Tone, str] = {"gain": "▲", "loss": "▼"}
OVERALL = "overall"
SIDES: tuple[Over, ...] = ("sft", "soup")


class Cell(NamedTuple):
    """Text, whether it is the best of its column, and its tone: a clear gain or loss, text, or words that may be broken."""

    text: str
    best: bool = False
    tone: Tone = ""

    @property
    def mark(self) -> str:
        """What is put in front of a clear gain or loss, for those who see no colour, "" for others."""
        return MARKS.get(self.tone, "")


class Table(NamedTuple):
    """A table: its first column names the rows, the others are figures unless their cells are text or words.

    ``strong`` is the index of the row to stand out (the fused model), None for no row.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    strong: int | None = None

    @property
    def aligned_left(self) -> tuple[bool, ...]:
        """For each column whether it holds text: the first one, and those without figures."""
        columns = zip(*(row[1:] for row in self.rows), strict=True)
        texts = [all(cell.tone in ("text", "words") for cell in column) for column in columns]
        return (True, *(texts or [False] * (len(self.columns) - 1)))


def result_tables(report: Report) -> list[Table]:
    """The overall table and one a metric by domain (where there are domains)."""
    by_domain = [domain_table(report, metric) for metric in report.metrics] if report.domains else []
    seen = [seen_table(report)] if report.baseline and report.row(report.fused) else []
    return [overall_table(report), *by_domain, *seen]


def overall_table(report: Report) -> Table:
    """All models: parameters, each metric with its standard error, each gain over SFT and over its soup."""
    columns, cells = (
        ["model", "parameters"],
        [[Cell(r.label), Cell(text.count(r.parameters))] for r in report.rows],
    )
    for metric in report.metrics:
        floor = ", floor" if report.floor_words(metric) else ""
        _append(columns, cells, metric.column + floor, _values(report.rows, metric, OVERALL))
        for over in SIDES:
            if any(row.gain(metric, over) for row in report.rows):
                _append(
                    columns, cells, f"gain over {report.over(over)}", _gains(report, metric, OVERALL, over)
                )
    said = [
        f"± one standard error over {_counts(report)}.",
        _noise_note(report),
        _means(report),
        *(
            f"{capital(m.title)} is at its floor and counts for nothing: the pivot cannot do it ({report.floor_words(m)})."
            for m in report.floored
        ),
    ]
    if any(cell.mark for row in cells for cell in row):
        said.append(CLEAR_NOTE)
    caption = " ".join(part for part in [*said, BEST_NOTE] if part)
    return Table("Results", tuple(columns), tuple(map(tuple, cells)), caption, _strong(report.rows, report))


def seen_table(report: Report) -> Table:
    """Each metric: the fused model's gains, and the smallest difference that this run could have seen."""
    row = report.row(report.fused)
    assert row is not None, "there is a fused model"
    sides = [over for over in SIDES if report.over(over)]
    columns = ["task", "items"]
    for over in sides:
        columns += [f"gain over {report.over(over)}", "could be seen", "verdict"]
    lines = []
    for metric in report.metrics:
        found = [(over, gains.overall) for over in sides if (gains := row.gain(metric, over)) is not None]
        by_side = dict(found)
        cells = [Cell(metric.title), Cell(f"{found[0][1].n:,}" if found else text.NONE)]
        for over in sides:
            cells += _seen_cells(report, metric, by_side.get(over))
        lines.append(tuple(cells))
    caption = (
        "Could be seen: the smallest true difference that would be called clear in four of five runs like this one, with as "
        "many items, training noise included. A smaller one may be there and not show."
    )
    return Table("What could be seen", tuple(columns), tuple(lines), caption)


def _seen_cells(report: Report, metric: Metric, gain: Gain | None) -> list[Cell]:
    if gain is None:
        return [Cell(text.NONE), Cell(text.NONE), Cell(text.NONE, tone="text")]
    places = text.decimals([gain], metric)
    size = detectable(gain, metric.estimator.own)
    least = text.NONE if size is None else f"{size * metric.scale:.{places}f}"
    verdict = "clear" if gain.is_clear else "unknown" if size is None else "not clear"
    verdict = "floor" if report.floor_words(metric) else verdict
    return [Cell(text.estimate(gain, metric, places, signed=True)), Cell(least), Cell(verdict, tone="text")]


def domain_table(report: Report, metric: Metric) -> Table:
    """One metric of all models, overall and in every domain."""
    columns, cells = ["model"], [[Cell(row.label)] for row in report.compared]
    for domain in (OVERALL, *report.domains):
        _append(columns, cells, domain, _values(report.compared, metric, domain))
    title = f"{capital(metric.title)} by domain"
    caption = f"{metric.caption}, {metric.direction}; ± one standard error. {BEST_NOTE}"
    return Table(title, tuple(columns), tuple(map(tuple, cells)), caption, _strong(report.compared, report))


CLEAR_NOTE = (
    f"{MARKS['gain']} a clear gain, {MARKS['loss']} a clear loss: a 95 % interval by Student's t, over at least {ENOUGH} "
    "conversations, leaves out zero."
)
BEST_NOTE = "Best of each column among models of the pivot's size marked."


def _noise_note(report: Report) -> str:
    """What the errors of gains hold."""
    if not report.baseline:
        return ""
    known = text.noise(report)
    if not known:
        return "No training was repeated: errors of gains leave out training noise, so none is called clear."
    return f"Those of gains hold training noise, too, known from {known}."


def _means(report: Report) -> str:
    """Which rows are no single model."""
    said = []
    if report.sft_seeds > 1 and report.baseline:
        said.append(
            f"{report.baseline} is the mean of its seeds, {report.soup} the average of their parameters."
        )
    if report.seeds > 1:
        said.append(f"Targets and merges are means over {report.seeds} seeds.")
    return " ".join(said)


def gain_table(report: Report, metric: Metric, over: Over = "sft") -> Table:
    """The gain of every model over SFT or its soup, overall and in every domain."""
    rows = [row for row in report.rows if row.gain(metric, over)]
    columns, cells = ["model"], [[Cell(row.label)] for row in rows]
    for domain in (OVERALL, *report.domains):
        column = _gains(report, metric, domain, over)
        _append(
            columns,
            cells,
            domain,
            [c for c, row in zip(column, report.rows, strict=True) if row.gain(metric, over)],
        )
    caption = f"{capital(metric.gained)}, positive is better; ± one standard error of the paired difference. {CLEAR_NOTE}"
    title = f"Gain over {report.over(over)} in {metric.title}"
    return Table(title, tuple(columns), tuple(map(tuple, cells)), caption, _strong(rows, report))


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
    """What each fusion took from whom, by domain."""
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
    """What each entry of the corpus gave, and what it left out, by reason."""
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
        "Known from: read = the whole file was read for it; manifest.json = the run that made the file; "
        "merge_weights.json = the merge that made it; hub cache = the hub's own checksum, by which the cache names it."
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
    caption = "Chosen on the validation part; the test part was not looked at."
    return Table("Label weights", ("model", "label weight", f"validation {metric.column}"), rows, caption)


def trial_table(report: Report) -> Table:
    """Merges tried by the search, in the order they were tried; of those that failed the reason."""
    failed, metric = sum(t.value is None for t in report.trials), report.trial_metric
    assert metric is not None, "trials are compared by something"
    columns = ("merge", f"validation {metric.column}", "time", *(("failed because",) if failed else ()))
    rows = []
    for t in report.trials:
        score = text.NONE if t.value is None else f"{t.value * metric.scale:.{metric.places + 1}f}"
        row = (Cell(t.label), Cell(score, best=t.chosen), Cell(duration(t.seconds)))
        rows.append((*row, Cell(t.reason, tone="words")) if failed else row)
    caption = "Tried on the validation part without any training; the test part was not looked at."
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
    """The overall estimate or that of a domain."""
    if breakdown is None:
        return None
    return breakdown.overall if domain == OVERALL else breakdown.domains.get(domain)


def _append(columns: list[str], rows: list[list[Cell]], name: str, cells: Sequence[Cell]) -> None:
    columns.append(name)
    for row, cell in zip(rows, cells, strict=True):
        row.append(cell)


def _values(rows: Sequence[Row], metric: Metric, domain: str) -> list[Cell]:
    found = [pick(row.value(metric), domain) for row in rows]
    places = text.decimals([pick(r.value(metric), OVERALL) for r in rows], metric)
    best = _best(rows, found, metric)
    return [Cell(text.estimate(e, metric, places), best=i in best) for i, e in enumerate(found)]


def _best(rows: Sequence[Row], found: Sequence[Estimate | None], metric: Metric) -> set[int]:
    """Indices of the best value among models of the pivot's size (ties share it)."""
    able = {
        i: -metric.loss(e.value)
        for i, (r, e) in enumerate(zip(rows, found, strict=True))
        if e and r.kind != "source"
    }
    return {i for i, value in able.items() if value == max(able.values())}


def _gains(report: Report, metric: Metric, domain: str, over: Over) -> list[Cell]:
    found = [pick(row.gain(metric, over), domain) for row in report.rows]
    places = text.decimals([pick(r.gain(metric, over), OVERALL) for r in report.rows], metric)
    return [Cell(text.estimate(e, metric, places, signed=True), tone=tone(e)) for e in found]


def tone(gain: Gain | None) -> Tone:
    """Whether a gain is clearly one, clearly a loss, or neither."""
    if gain is None or not gain.is_clear:
        return ""
    return "gain" if gain.value > 0 else "loss"


def _counts(report: Report) -> str:
    """How many conversations each metric is over."""
    parts = []
    for metric in report.metrics:
        sizes = {v.overall.n for row in report.rows if (v := row.value(metric))}
        parts.append(
            f"{max(sizes):,} ({metric.title})"
            if len(report.metrics) > 1
            else counted(max(sizes), "conversation")
        )
    return " and ".join(parts) + (" conversations" if len(parts) > 1 else "") if parts else "no conversations"


def _strong(rows: Sequence[Row], report: Report) -> int | None:
    return next((i for i, row in enumerate(rows) if row.label == report.fused), None)


def _share(models: Sequence[str], shares: Sequence[float], model: str) -> str:
    return text.percent(shares[models.index(model)], 0) if model in models else text.NONE
