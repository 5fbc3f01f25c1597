"""The tables of results: every model's values, by domain, and gains over SFT and its soup."""

from collections.abc import Sequence

from fusionchat.evaluate.metric import Metric, capital
from fusionchat.evaluate.noise import Gain
from fusionchat.evaluate.power import detectable
from fusionchat.evaluate.statistics import ENOUGH, Estimate
from fusionchat.report import text
from fusionchat.report.model import Over, Report, Row
from fusionchat.report.tables import MARKS, OVERALL, SIDES, Cell, Table, Tone, pick, strong
from fusionchat.units import counted


def result_tables(report: Report) -> list[Table]:
    """The overall table and, if there are domains, one per metric by domain."""
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
            f"{capital(m.title)} is at its floor and not counted: the pivot cannot do it ({report.floor_words(m)})."
            for m in report.floored
        ),
    ]
    if any(cell.mark for row in cells for cell in row):
        said.append(CLEAR_NOTE)
    caption = " ".join(part for part in [*said, BEST_NOTE] if part)
    return Table("Results", tuple(columns), tuple(map(tuple, cells)), caption, strong(report.rows, report))


def seen_table(report: Report) -> Table:
    """Each metric's gains of the fused model, and the smallest difference that this run could detect."""
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
        "Could be seen: the smallest true difference that would be called clear in four of five runs like "
        "this one, with the same number of items, training noise included. A smaller one may exist and not "
        "show."
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
    return Table(title, tuple(columns), tuple(map(tuple, cells)), caption, strong(report.compared, report))


CLEAR_NOTE = (
    f"{MARKS['gain']} a clear gain, {MARKS['loss']} a clear loss: a 95 % interval by Student's t, over at least {ENOUGH} "
    "conversations, excludes zero."
)
BEST_NOTE = "Best of each column among models of the pivot's size marked."


def _noise_note(report: Report) -> str:
    """What the errors of gains contain."""
    if not report.baseline:
        return ""
    known = text.noise(report)
    if not known:
        return "No training was repeated: errors of gains leave out training noise, so none is called clear."
    return f"Errors of gains include training noise, estimated from {known}."


def _means(report: Report) -> str:
    """Which rows are not a single model."""
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
    return Table(title, tuple(columns), tuple(map(tuple, cells)), caption, strong(rows, report))


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
        if e and r.kind not in ("source", "adapted")
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
    """The number of conversations of each metric."""
    parts = []
    for metric in report.metrics:
        sizes = {v.overall.n for row in report.rows if (v := row.value(metric))}
        parts.append(
            f"{max(sizes):,} ({metric.title})"
            if len(report.metrics) > 1
            else counted(max(sizes), "conversation")
        )
    return " and ".join(parts) + (" conversations" if len(parts) > 1 else "") if parts else "no conversations"
