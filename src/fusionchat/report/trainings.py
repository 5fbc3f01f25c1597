"""The course of each training: one panel per figure, one line per training."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fusionchat.artifacts import Json
from fusionchat.report import svg, text
from fusionchat.report.figures import TrainingCourse
from fusionchat.report.model import Report
from fusionchat.report.plots import Plot, panel
from fusionchat.report.tables import Cell, Table
from fusionchat.units import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 60
"""The most points of a line; for longer trainings each is the mean of several steps."""
ROWS = 8
"""The height of a panel, in rows."""
SPEED, MEMORY, SHARES = "tokens_per_second", "memory", "share_of_rows"


class Drawn(NamedTuple):
    """A figure of a training's steps that is drawn."""

    key: str
    title: str
    axis: str
    scale: float = 1.0


FIGURES = (
    Drawn("label_loss", "Loss of the labels", "nats a token"),
    Drawn("distribution_loss", "Loss of the distributions", "nats a token"),
    Drawn("agreement", "Agreement", "% of rows", 100.0),
    Drawn("held_out_bits_per_byte", "Held-out text", "bits per byte"),
    Drawn("grad_norm", "Norm of the gradient", "before it is clipped"),
    Drawn(SPEED, "Speed", "tokens/s"),
)


def course(label: str, lines: Sequence[Mapping[str, Json]]) -> TrainingCourse:
    """The course of a training from the lines of its metrics; at most `POINTS` points per figure."""
    figures: dict[str, tuple[tuple[float, float], ...]] = {}
    for key in (*(one.key for one in FIGURES), MEMORY):
        found = [(float(_number(line["step"])), _number(line[key])) for line in lines if key in line]
        each = -(-len(found) // POINTS)
        groups = [found[i : i + each] for i in range(0, len(found), max(each, 1))]
        if groups:
            figures[key] = tuple((group[-1][0], sum(v for _, v in group) / len(group)) for group in groups)
    return TrainingCourse(label, len(lines) and int(_number(lines[-1]["step"])), figures, _shares(lines))


def _shares(lines: Sequence[Mapping[str, Json]]) -> dict[str, float]:
    """The share of each model's rows in all steps."""
    total: dict[str, float] = {}
    for line in lines:
        own = line.get(SHARES)
        if isinstance(own, dict):
            for name, share in own.items():
                total[name] = total.get(name, 0.0) + _number(share) * _number(line["rows"])
    rows = sum(total.values())
    return {name: part / rows for name, part in total.items()} if rows else {}


def _number(value: Json) -> float:
    assert isinstance(value, int | float), f"no number: {value}"
    return value


def training_plots(report: Report) -> list[Plot]:
    """A panel for each figure that any training has."""
    return [
        panel(
            f"training-{one.key.replace('_', '-')}",
            f"{one.title} of {len(report.trainings)} trainings by step, {one.axis}",
            ROWS,
            partial(_lines, report=report, drawn=one),
        )
        for one in FIGURES
        if any(len(training.figures.get(one.key, ())) > 1 for training in report.trainings)
    ]


def _lines(axes: "Axes", *, report: Report, drawn: Drawn) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(drawn.title)
    for number, training in enumerate(report.trainings):
        points = training.figures.get(drawn.key, ())
        steps, values = [step for step, _ in points], [drawn.scale * value for _, value in points]
        axes.plot(steps, values, color=svg.series(number), linewidth=1.2)
    low, high = axes.get_ylim()
    ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    axes.set_yticks(
        ticks, [f"{tick:,g}" for tick in ticks]
    )  # set as texts, so that a panel knows their width
    axes.yaxis.grid(visible=True, linewidth=0.6)
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(f"step; {drawn.axis}")


def training_table(report: Report) -> Table:
    """How each training went, and where it ended."""
    columns = (
        "training",
        "steps",
        "labels' loss",
        "distributions'",
        "agreement",
        "tokens/s",
        "memory",
        "rows of",
    )
    caption = (
        "Losses in nats per token, at the end: of the labels, and the divergence from the distributions. Agreement: the share of "
        "rows in which the target's most probable token is the distribution's. Tokens/s: the median. Memory: the most in one "
        "process. Rows of: the models whose distributions were learned, with their share of the rows."
    )
    return Table("Trainings", columns, tuple(map(_row, report.trainings)), caption)


def _row(training: TrainingCourse) -> tuple[Cell, ...]:
    last = {key: points[-1][1] for key, points in training.figures.items()}
    speeds = sorted(value for _, value in training.figures.get(SPEED, ()))
    most = max((value for _, value in training.figures.get(MEMORY, ())), default=None)
    rows = ", ".join(f"{name} {text.percent(share, 0)}" for name, share in training.shares.items())
    parts = (
        f"{training.steps:,}",
        _figure(last.get("label_loss")),
        _figure(last.get("distribution_loss")),
        text.percent(last.get("agreement")),
        f"{speeds[len(speeds) // 2]:,.0f}" if speeds else text.NONE,
        text.NONE if most is None else size(most),
    )
    return (Cell(training.label), *map(Cell, parts), Cell(rows or text.NONE, tone="text"))


def _figure(value: float | None) -> str:
    return text.NONE if value is None else f"{value:.3f}"
