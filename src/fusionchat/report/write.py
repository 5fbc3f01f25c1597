"""A report's files: ``report.html``, ``report.md`` with its figures in ``plots/``, ``report.json``."""

from pathlib import Path

from fusionchat.artifacts import write_json, write_text
from fusionchat.report import svg
from fusionchat.report.html import html
from fusionchat.report.markdown import markdown
from fusionchat.report.model import Report, report_json
from fusionchat.report.sections import content

PLOTS = "plots"


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write all files of a report into a folder; returns their paths, the HTML page first."""
    page, text, data = folder / "report.html", folder / "report.md", folder / "report.json"
    said = content(report)
    write_text(page, html(report, said))
    figures = [folder / PLOTS / f"{plot.name}.svg" for plot in said.plots]
    for path, plot in zip(figures, said.plots, strict=True):
        write_text(path, svg.for_file(plot.svg))
    write_text(text, markdown(report, said, plots=PLOTS))
    write_json(data, report_json(report))
    return [page, text, data, *figures]
