"""The report as Markdown: the same sections, for a terminal, a pull request or a repository."""

from collections.abc import Iterator

from fusionchat.report.model import Report
from fusionchat.report.plots import Plot
from fusionchat.report.sections import Content, Part
from fusionchat.report.tables import Cell, Table


def markdown(report: Report, content: Content, *, plots: str | None = None) -> str:
    """The report as Markdown.

    Args:
        report: The run.
        content: The content of the page.
        plots: Folder of the figures (``NAME.svg``) relative to the file; None to leave them out.
    """
    blocks = [
        f"# {report.name}",
        content.headline,
        "\n".join(f"- {said}" for said in content.advice),
        *report.notes,
    ]
    blocks.append("\n".join(f"- {f.name}: **{f.figure}** ({f.small})" if f.small else f"- {f.name}: **{f.figure}**"
                            for f in content.facts))  # fmt: skip
    for section in content.sections:
        blocks += [f"## {section.title}", section.text]
        blocks += [block for part in section.parts for block in _part(part, plots)]
    blocks += ["---", f"FusionChat report, {report.created}. {content.versions}"]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _part(part: Part, folder: str | None) -> Iterator[str]:
    if part.title:
        yield f"### {part.title}"
    if part.plots and folder is not None:
        yield "\n".join(image(plot, folder) for plot in part.plots)
    if part.table is not None:
        yield table(part.table)
    if part.code:
        yield fenced(part.code, "yaml")


def image(plot: Plot, folder: str) -> str:
    """A figure; a panel is a third of the page wide."""
    words = plot.alt.translate({ord(c): f"&#{ord(c)};" for c in '&<>"'})
    return f'<img src="{folder}/{plot.name}.svg" alt="{words}" width="{"100%" if plot.wide else "32%"}">'


def table(made: Table) -> str:
    """A table in GitHub's Markdown, with best values and the fused model's name in bold."""
    lines = [
        _line([*map(escape, made.columns)]),
        _line([":--" if left else "--:" for left in made.aligned_left]),
    ]
    for index, row in enumerate(made.rows):
        name = f"**{escape(row[0].text)}**" if index == made.strong else escape(row[0].text)
        lines.append(_line([name, *map(_cell, row[1:])]))
    caption = made.caption.replace("marked", "bold")
    return "\n".join(lines) + (f"\n\n{caption}" if caption else "")


def fenced(text: str, language: str) -> str:
    """Text in a code fence that it does not contain itself."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def escape(text: str) -> str:
    """Text, escaped for a table cell."""
    for char in "\\|*_`<>[]":
        text = text.replace(char, f"\\{char}")
    return text.replace("\n", " ")


def _cell(cell: Cell) -> str:
    shown = escape(f"{cell.mark} {cell.text}".lstrip())
    return f"**{shown}**" if cell.best else shown


def _line(cells: "tuple[str, ...] | list[str]") -> str:
    return f"| {' | '.join(cells)} |"
