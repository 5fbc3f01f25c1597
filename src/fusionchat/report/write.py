"""A report's files: ``report.html``, ``report.md`` with its figures in ``plots/``, ``report.json``."""

from pathlib import Path

from fusionchat.artifacts import Json, write_json, write_text
from fusionchat.evaluate.power import detectable
from fusionchat.report import svg
from fusionchat.report.advice import advice
from fusionchat.report.as_json import report_json
from fusionchat.report.html import html
from fusionchat.report.markdown import markdown
from fusionchat.report.model import Report
from fusionchat.report.sections import content
from fusionchat.report.tables import SIDES

PLOTS = "plots"


def conclusions(report: Report) -> dict[str, Json]:
    """What follows from the figures, for JSON: advice, tasks at their floor, detectable differences."""
    row = report.row(report.fused)
    seen: dict[str, Json] = {}
    for metric in report.metrics:
        found = {over: row.gain(metric, over) for over in SIDES} if row else {}
        seen[metric.name] = {
            f"over_{over}": detectable(gains.overall, metric.estimator.own)
            for over, gains in found.items()
            if gains is not None
        }
    said: list[Json] = [{"rule": one.rule, "text": one.text} for one in advice(report)]
    return {"advice": said, "floor": [metric.name for metric in report.floored], "could_be_seen": seen}


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write all files of a report into a folder; returns their paths, the HTML page first."""
    page, text, data = folder / "report.html", folder / "report.md", folder / "report.json"
    said = content(report)
    write_text(page, html(report, said))
    figures = [folder / PLOTS / f"{plot.name}.svg" for plot in said.plots]
    for path, plot in zip(figures, said.plots, strict=True):
        write_text(path, svg.for_file(plot.svg))
    write_text(text, markdown(report, said, plots=PLOTS))
    write_json(data, {**report_json(report), **conclusions(report)})
    return [page, text, data, *figures]
