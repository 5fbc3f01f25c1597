"""When and where each job was made: one row per node and concurrent job."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fusionchat.artifacts import Json
from fusionchat.report import svg, text
from fusionchat.report.figures import Span
from fusionchat.report.plots import Plot, panel, rows_axis
from fusionchat.report.tables import Cell, Table
from fusionchat.units import counted, duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCALES = (
    (2 * 86400.0, 86400.0, "days"),
    (2 * 3600.0, 3600.0, "hours"),
    (120.0, 60.0, "minutes"),
    (0.0, 1.0, "seconds"),
)
"""The seconds from which a timeline uses a unit, the unit's length in seconds, and its name."""
BAR = 0.7


def spans_of(job: str, made: Mapping[str, Json]) -> list[Span]:
    """Who worked on a finished job, from its manifest; none if it does not say.

    A process that helped has one span for all its shards, from its first to its last.
    """
    if not made:
        return []
    whole = _span(job, made)
    shards = made.get("shards")
    helped = defaultdict[tuple[str, int], list[Span]](list)
    for who in shards.values() if isinstance(shards, dict) else ():
        assert isinstance(who, dict)
        one = _span(job, who)
        if (one.node, one.process) != (whole.node, whole.process):
            helped[one.node, one.process].append(one)
    return [whole, *map(_together, helped.values())]


def _span(job: str, who: Mapping[str, Json]) -> Span:
    began, seconds = (float(str(who[key] or 0)) for key in ("began", "seconds"))
    process, attempt = (int(str(who[key])) for key in ("process", "attempt"))
    return Span(job, str(who["node"]), process, attempt, began, seconds)


def _together(shards: Sequence[Span]) -> Span:
    first, end = min(one.began for one in shards), max(one.began + one.seconds for one in shards)
    return Span(
        shards[0].job,
        shards[0].node,
        shards[0].process,
        max(one.attempt for one in shards),
        first,
        end - first,
        len(shards),
    )


def lanes(spans: Sequence[Span]) -> dict[tuple[str, int], list[Span]]:
    """Spans by node and lane: each is in the first lane of its node that is free when it begins."""
    placed = dict[tuple[str, int], list[Span]]()
    for span in sorted(spans, key=lambda one: (one.node, one.began)):
        lane = 0
        while (held := placed.get((span.node, lane))) and held[-1].began + held[-1].seconds > span.began:
            lane += 1
        placed.setdefault((span.node, lane), []).append(span)
    return dict(sorted(placed.items()))


def roles(spans: Sequence[Span]) -> dict[str, str]:
    """The colour of each stage."""
    stages = dict.fromkeys(span.job.partition("/")[0] for span in spans)
    return {stage: f"series-{index % svg.SERIES + 1}" for index, stage in enumerate(stages)}


def timeline_plot(spans: Sequence[Span]) -> Plot:
    """A row for each lane of each node, a bar for each span, in its stage's colour."""
    placed = lanes(spans)
    nodes = len({node for node, _ in placed})
    alt = f"{counted(len(spans), 'piece')} of work on {counted(nodes, 'node')} over time"
    return panel(
        "timeline", alt, len(placed), partial(_paint, placed=placed, colours=roles(spans)), wide=True
    )


def _paint(
    axes: "Axes", *, placed: Mapping[tuple[str, int], Sequence[Span]], colours: Mapping[str, str]
) -> None:
    every = [span for held in placed.values() for span in held]
    start = min(span.began for span in every)
    length = max(span.began + span.seconds for span in every) - start
    _, unit, name = next(scale for scale in SCALES if length >= scale[0])
    for y, held in enumerate(placed.values()):
        bars = [((span.began - start) / unit, max(span.seconds, length / 500) / unit) for span in held]
        axes.broken_barh(
            bars,
            (y - BAR / 2, BAR),
            facecolors=[svg.role(colours[span.job.partition("/")[0]]) for span in held],
            edgecolor=svg.role("surface"),
            linewidth=0.6,
        )
    axes.set_xlim(0, length / unit or 1.0)
    axes.set_xlabel(name)
    rows_axis(axes, [node if lane == 0 else f"{node}, {lane + 1}" for node, lane in placed], "")


def node_table(spans: Sequence[Span]) -> Table:
    """What each node did: jobs, shards of others' jobs, time, and how much was repeated after a loss."""
    start = min(span.began for span in spans)
    length = max(span.began + span.seconds for span in spans) - start
    by_node = defaultdict[str, list[Span]](list)
    for span in spans:
        by_node[span.node].append(span)
    rows = []
    for node, held in sorted(by_node.items()):
        busy = sum(span.seconds for span in held)
        again = sum(span.attempt > 1 for span in held)
        rows.append(
            (
                Cell(node),
                Cell(str(sum(not span.shards for span in held))),
                Cell(str(sum(span.shards for span in held))),
                Cell(duration(busy)),
                Cell(text.percent(busy / length if length else 0.0)),
                Cell(str(again)),
            )
        )
    columns = ("node", "jobs", "shards of others", "work", "of the run's length", "in a later attempt")
    caption = f"From the first job to the last {duration(length)}; more than 100 % means that jobs ran at the same time."
    return Table("By node", columns, tuple(rows), caption)
