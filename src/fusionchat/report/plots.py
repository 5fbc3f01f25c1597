"""The report's figures, drawn as small panels that a page lays out."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.statistics import Estimate
from fusionchat.report import svg
from fusionchat.report.figures import Choice, MergeWeights
from fusionchat.report.model import Over, Report, Row
from fusionchat.report.tables import OVERALL, pick
from fusionchat.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL, WIDE = 3.7, 11.5  # widths of panels, and what follows: inches
ROW, TOP, BOTTOM, EDGE = 0.21, 0.26, 0.46, 0.14
LETTER, LABEL = 0.072, 24  # width of a letter, and the most letters of a label
SMALL = 0.06  # width of a letter of an axis' name
KIND_ROLES = {
    "pivot": "series-1",
    "source": "series-3",
    "adapted": "series-3",
    "sft": "ink",
    "soup": "ink",
    "self": "series-1",
    "target": "series-2",
    "merge": "series-4",
}


class Plot(NamedTuple):
    """One panel: a name for files, the ``<svg>`` in placeholder colours (see svg.py), alternative text."""

    name: str
    svg: str
    alt: str
    wide: bool = False


def score_plots(report: Report, metric: Metric) -> list[Plot]:
    """One panel for all conversations and one for each domain with values, with standard errors."""
    rows = [row for row in report.compared if row.value(metric)]
    return [
        panel(
            f"{metric.name}-{number}-{_slug(domain)}",
            f"{domain}: {metric.title} of {counted(len(rows), 'model')} with standard errors",
            len(rows),
            partial(_scores, report=report, rows=rows, metric=metric, domain=domain),
        )
        for number, domain in enumerate((OVERALL, *report.domains))
        if any(pick(row.value(metric), domain) for row in rows)
    ]


def _scores(axes: "Axes", *, report: Report, rows: Sequence[Row], metric: Metric, domain: str) -> None:
    scale = metric.scale
    axes.set_title(domain)
    found = {y: (row, e) for y, row in enumerate(rows) if (e := pick(row.value(metric), domain)) is not None}
    low, high = _score_range([(row, e) for row, e in found.values()], scale)
    axes.set_xlim(low, high)
    for y, (row, e) in found.items():
        colour, value = _row_colour(row, report), e.value * scale
        if low <= value <= high:
            marker, size = ("D", 5.0) if row.label == report.fused else ("o", 4.5)
            axes.errorbar(
                value, y, xerr=(e.se or 0) * scale, fmt=marker, color=colour, markersize=size, elinewidth=1.4
            )
        else:
            _off_scale(axes, y, f"{value:.{metric.places}f}", colour, right=value > high)
    baseline = report.row(report.baseline)
    level = pick(baseline.value(metric), domain) if baseline else None
    if level is not None:
        axes.axvline(
            level.value * scale, color=svg.role("muted"), linewidth=0.8, linestyle=(0, (3, 2)), zorder=0
        )
    axes.set_xlabel(f"{metric.column}, {metric.direction}")
    axes.locator_params(axis="x", nbins=5)
    rows_axis(axes, [row.label for row in rows], report.fused)


def _score_range(found: Sequence[tuple[Row, Estimate]], scale: float) -> tuple[float, float]:
    """Limits that show the trained models, and those of the others that are near them."""
    ends = [(r.kind, scale * (e.value - (e.se or 0)), scale * (e.value + (e.se or 0))) for r, e in found]
    trained = [(low, high) for kind, low, high in ends if kind not in ("pivot", "source", "adapted")]
    trained = trained or [(low, high) for _, low, high in ends] or [(0.0, 1.0)]
    low, high = min(low for low, _ in trained), max(high for _, high in trained)
    reach = 1.5 * ((high - low) or 0.1 * abs(high) or 1.0)
    near = [(a, b) for _, a, b in ends if a >= low - reach and b <= high + reach]
    low, high = min([low, *(a for a, _ in near)]), max([high, *(b for _, b in near)])
    margin = 0.07 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _off_scale(axes: "Axes", y: int, value: str, colour: str, *, right: bool) -> None:
    """An arrow at the edge with the value beyond it."""
    x, side = (0.985, "right") if right else (0.015, "left")
    words = f"{value} ▸" if right else f"◂ {value}"
    axes.text(
        x, y, words, transform=axes.get_yaxis_transform(), ha=side, va="center", color=colour, fontsize=8.5
    )


def gain_plots(report: Report, metric: Metric, over: Over = "sft") -> list[Plot]:
    """Gains by domain: over SFT one panel per fused model, over the soup only the fused model's."""
    rows = [row for row in report.rows if row.gain(metric, over) and row.kind in ("target", "merge")]
    rows = [row for row in rows if over == "sft" or row.label == report.fused]
    domains = (OVERALL, *report.domains)
    limits = _gain_range(rows, metric, domains, over)
    return [
        panel(
            f"gain-over-{over}-{metric.name}-{number}-{_slug(row.label)}",
            f"{row.label}: gain over {report.over(over)} in {metric.title} by domain, positive is better",
            len(domains),
            partial(_gains, report=report, row=row, metric=metric, over=over, limits=limits),
        )
        for number, row in enumerate(rows)
    ]


def _gain_range(
    rows: Sequence[Row], metric: Metric, domains: Sequence[str], over: Over = "sft"
) -> tuple[float, float]:
    """Limits that all panels share, zero inside, so that they can be compared."""
    ends = [
        metric.scale * (e.value + side * (e.se or 0))
        for row in rows
        for domain in domains
        if (e := pick(row.gain(metric, over), domain)) is not None
        for side in (-1, 1)
    ]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _gains(
    axes: "Axes", *, report: Report, row: Row, metric: Metric, over: Over, limits: tuple[float, float]
) -> None:
    scale = metric.scale
    domains = (OVERALL, *report.domains)
    axes.set_title(row.label)
    for y, domain in enumerate(domains):
        found = pick(row.gain(metric, over), domain)
        if found is None:
            continue
        colour = svg.role("gain" if found.value >= 0 else "loss")
        axes.barh(y, found.value * scale, height=0.62, color=colour, alpha=1.0 if found.is_clear else 0.4)
        axes.errorbar(
            found.value * scale, y, xerr=(found.se or 0) * scale, color=svg.role("ink"), elinewidth=0.9
        )
    axes.axvline(0, color=svg.role("ink"), linewidth=0.9)
    axes.set_xlim(*limits)
    axes.set_xlabel(f"{metric.gained} against {report.over(over)}")
    axes.locator_params(axis="x", nbins=5)
    rows_axis(axes, domains, OVERALL)


def choice_plots(report: Report) -> list[Plot]:
    """One panel per fusion: whose distributions were chosen in each domain."""
    names = list(dict.fromkeys(model for choice in report.choices for model in choice.models))
    return [
        panel(
            f"choices-{number}-{_slug(choice.label)}",
            f"{choice.label}: share of each model's distributions by domain",
            len(choice.won),
            partial(_choices, choice=choice, names=names),
            top=TOP + ROW,
        )
        for number, choice in enumerate(report.choices)
    ]


def _choices(axes: "Axes", *, choice: Choice, names: Sequence[str]) -> None:
    axes.set_title(choice.label, pad=20)
    for i, model in enumerate(choice.models):
        colour = svg.series(names.index(model))
        for y, shares in enumerate(choice.won.values()):
            start, share = 100 * sum(shares[:i]), 100 * shares[i]
            axes.barh(y, share, left=start, height=0.7, color=colour, label=model if y == 0 else None)
            if share >= 12:
                axes.text(
                    start + share / 2,
                    y,
                    f"{share:.0f}",
                    ha="center",
                    va="center",
                    color="#ffffff",
                    fontsize=8,
                )
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the distributions")
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(choice.models), frameon=False, handlelength=0.9,
        handleheight=0.9, borderaxespad=0, borderpad=0.2, columnspacing=1.2, fontsize=8.5,
    )  # fmt: skip
    rows_axis(axes, list(choice.won), "")


def trial_plots(report: Report) -> list[Plot]:
    """One wide panel: every trial of the merge search and its score."""
    failed = sum(t.value is None for t in report.trials)
    words = f"{counted(len(report.trials), 'merge')} tried on validation, the best marked"
    words += f", {failed} failed" if failed else ""
    return [panel("search", words, len(report.trials), partial(_trials, report=report), wide=True)]


def _trials(axes: "Axes", *, report: Report) -> None:
    metric = report.trial_metric
    assert metric is not None, "trials are compared by something"
    for y, trial in enumerate(report.trials):
        if trial.value is None:
            axes.text(
                0.015, y, "failed", transform=axes.get_yaxis_transform(), va="center", color=svg.role("muted"),
                fontsize=8.5,
            )  # fmt: skip
            continue
        marker, role = ("D", "series-4") if trial.chosen else ("o", "series-2")
        axes.plot(
            trial.value * metric.scale, y, marker=marker, color=svg.role(role), markersize=5, linestyle="none"
        )
    axes.set_xlabel(f"validation {metric.column}, {metric.direction}")
    best = next((t.label for t in report.trials if t.chosen), "")
    rows_axis(axes, [t.label for t in report.trials], best)


def weight_plots(merge: MergeWeights) -> list[Plot]:
    """One panel per target of a merge: its weight in every module of every layer."""
    return [
        panel(
            f"weights-{_slug(merge.label)}-{number}-{_slug(target)}",
            f"{merge.label}: weight of {target}, "
            f"{counted(len(merge.modules), 'module')} by {counted(len(merge.layers), 'layer')}",
            len(merge.modules),
            partial(_weights, merge=merge, target=number),
            wide=len(merge.layers) > 10,
        )
        for number, target in enumerate(merge.targets)
    ]


def _weights(axes: "Axes", *, merge: MergeWeights, target: int) -> None:
    import matplotlib as mpl

    table = merge.weights[target]
    colours = mpl.colormaps["viridis"]
    small = len(merge.layers) <= 10
    for y, row in enumerate(table):
        for x, weight in enumerate(row):
            if weight is None:
                continue
            fill = colours(weight)
            axes.add_patch(
                mpl.patches.Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=fill, linewidth=0)
            )
            if small:
                ink = "#ffffff" if weight < 0.62 else "#101010"
                axes.text(x, y, f"{weight:.2f}", ha="center", va="center", color=ink, fontsize=7.5)
    axes.set_title(f"{merge.targets[target]}")
    axes.set_xlim(-0.5, len(merge.layers) - 0.5)
    step = max(1, len(merge.layers) // 16)
    first = 1 if merge.layers[0] == "" else 0
    shown = [i for i in range(len(merge.layers)) if i < first or (i - first) % step == 0]
    axes.set_xticks(shown, [merge.layers[i] or "-" for i in shown])
    axes.set_xlabel("layer; dark 0, light 1")
    rows_axis(axes, merge.modules, "")
    axes.xaxis.grid(visible=False)
    axes.spines["bottom"].set_visible(False)


def panel(
    name: str, alt: str, rows: int, paint: Callable[["Axes"], None], *, wide: bool = False, top: float = TOP
) -> Plot:
    """A panel painted by a function, with the height for ``rows`` rows."""
    from matplotlib.figure import Figure

    with svg.styled():
        width, height = WIDE if wide else PANEL, top + BOTTOM + ROW * max(rows, 2)
        figure = Figure(figsize=(width, height))
        axes = figure.add_subplot()
        paint(axes)
        # Margins follow from the length of the labels, since measuring text takes most of a figure's time.
        letters = max((len(label.get_text()) for label in axes.get_yticklabels()), default=0)
        left = EDGE + LETTER * letters
        if SMALL * len(axes.get_xlabel()) > width - left + EDGE:  # centred under its axis it would be clipped
            axes.xaxis.label.set(x=1, horizontalalignment="right")
        figure.subplots_adjust(
            left=left / width,
            right=1 - EDGE / width,
            bottom=BOTTOM / height,
            top=1 - top / height,
        )
        return Plot(name, svg.draw(figure, name), alt, wide)


def rows_axis(axes: "Axes", labels: Sequence[str], strong: str) -> None:
    """Name the rows of a panel from above; the ``strong`` one stands out."""
    axes.set_yticks(range(len(labels)), [short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.xaxis.grid(visible=True, linewidth=0.6)
    for label in axes.get_yticklabels():
        if label.get_text() == short(strong):
            label.set_fontweight("bold")


def short(label: str) -> str:
    """A label that leaves room for the figure."""
    return label if len(label) <= LABEL else label[: LABEL - 1] + "…"


def _row_colour(row: Row, report: Report) -> str:
    if row.label == report.fused:
        return svg.role("fused")
    return svg.role(KIND_ROLES[row.kind])


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
