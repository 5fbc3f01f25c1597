"""The HTML page: one self-contained file for any width, in light and dark, and for print."""

from importlib.resources import files

from jinja2 import Environment
from markupsafe import Markup, escape

from fusionchat.report import svg
from fusionchat.report.model import Report
from fusionchat.report.plots import Plot
from fusionchat.report.sections import Content
from fusionchat.report.tables import Cell


def html(report: Report, content: Content) -> str:
    """The report as one self-contained HTML page."""
    folder = files("fusionchat.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(classes=classes, figure=figure, cell=shown, caption=caption, inline=inline)
    template = environment.from_string((folder / "page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        css=Markup((folder / "page.css").read_text(encoding="utf-8")),
        content=content,
    )


def classes(cell: Cell) -> Markup:
    """The class attribute of a cell; empty if it has none."""
    names = [name for name in ("best" if cell.best else "", cell.tone) if name]
    return Markup(' class="{}"').format(" ".join(names)) if names else Markup("")


def shown(cell: Cell) -> Markup:
    """A cell's figure, after a mark if it is a clear gain or loss."""
    return (
        Markup('<span class="mark">{}</span> {}').format(cell.mark, figure(cell.text))
        if cell.mark
        else figure(cell.text)
    )


def caption(text: str) -> str:
    """A table's caption with the mark of the best values that page.css draws."""
    return text.replace("marked.", "marked ★.")


def figure(text: str) -> Markup:
    """A figure with a real minus sign and a dimmed standard error."""
    value, sign, error = minus(text).partition(" ±")
    return Markup('{} <span class="se">±{}</span>').format(value, error) if sign else escape(value)


def inline(plot: Plot) -> Markup:
    """A plot's element, in the page's colours."""
    return Markup(svg.for_page(plot.svg, plot.alt))


def minus(text: str) -> str:
    """The text with a minus sign in place of the hyphen that starts it; a lone dash is an en dash."""
    if text == "-":
        return "–"
    return f"−{text[1:]}" if text.startswith("-") else text
