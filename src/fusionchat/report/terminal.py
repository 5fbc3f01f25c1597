"""The results as terminal tables of a given width.

Wide ones are split by columns, never wrapped or cut.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from fusionchat import console
from fusionchat.report.captures import capture_tables
from fusionchat.report.model import Report
from fusionchat.report.results import result_tables
from fusionchat.report.tables import Cell, Table

WIDTH = 100
CONTINUED = " (continued)"
"""The end of the title of a table's second and further parts."""
BORDER, PADDING = 1, 3  # widths for a table and for a column, as console.table draws them


class TerminalTable(NamedTuple):
    """The arguments of `fusionchat.console.table`.

    ``marked`` lists (row, column) of the best values, ``strong`` is the fused model's row, ``left`` are
    columns of text.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    marked: tuple[tuple[int, int], ...] = ()
    strong: int | None = None
    left: tuple[int, ...] = (0,)


def terminal_tables(report: Report, width: int | None = None) -> list[TerminalTable]:
    """The tables of captures and of results; results come last, where a terminal shows them.

    Args:
        report: The run.
        width: Most characters of a table's line (a table has at least one column of figures); None for the
            terminal's width, up to `WIDTH`.
    """
    room = min(WIDTH, console.width()) if width is None else width
    return [part for table in (*capture_tables(report), *result_tables(report)) for part in fit(table, room)]


def paragraph(text: str) -> str:
    """Text in lines of the terminal's width, up to `WIDTH`."""
    return textwrap.fill(text, min(WIDTH, console.width()), break_long_words=False, break_on_hyphens=False)


def fit(table: Table, width: int) -> list[TerminalTable]:
    """One table as one or more of at most ``width`` characters; the parts repeat the first column."""
    texts = [[plain(cell) for cell in row] for row in table.rows]
    figures = [max((cell_len(row[i]) for row in texts), default=0) for i in range(len(table.columns))]
    names = [two_lines(name, room) for name, room in zip(table.columns, figures, strict=True)]
    widths = [max(room, *map(cell_len, name.split("\n"))) for name, room in zip(names, figures, strict=True)]
    parts = split(widths, width)
    return [part(table, names, texts, members, last=members is parts[-1]) for members in parts]


def part(
    table: Table, names: Sequence[str], texts: Sequence[Sequence[str]], members: Sequence[int], *, last: bool
) -> TerminalTable:
    """The first column and those of ``members``; the caption goes under the last part."""
    chosen = (0, *members)
    title = table.title if members[0] == 1 else table.title + CONTINUED
    marked = [(r, c) for r, row in enumerate(table.rows) for c, i in enumerate(chosen) if row[i].best]
    return TerminalTable(
        title,
        tuple(names[i] for i in chosen),
        tuple(tuple(row[i] for i in chosen) for row in texts),
        table.caption.replace("marked", "marked *") if last else "",
        tuple(marked),
        table.strong,
        tuple(c for c, i in enumerate(chosen) if table.aligned_left[i]),
    )


def plain(cell: Cell) -> str:
    """A cell's text, with its mark in front so that figures stay right-aligned."""
    return f"{'*' if cell.best else cell.mark}{cell.text}"


def two_lines(name: str, room: int) -> str:
    """A name, broken at the space nearest to its middle if it is wider than the figures under it."""
    spaces = [i for i, char in enumerate(name) if char == " "]
    if not spaces or cell_len(name) <= room:
        return name
    middle = min(spaces, key=lambda i: abs(i - len(name) / 2))
    return f"{name[:middle]}\n{name[middle + 1 :]}"


def split(widths: Sequence[int], width: int) -> list[list[int]]:
    """Columns 1.. in the fewest groups that fit beside column 0 in ``width``, of nearly equal size."""
    room = width - BORDER - widths[0] - PADDING
    needed = [w + PADDING for w in widths]
    groups = len(greedy(needed, room, len(needed)))
    most = -(-(len(needed) - 1) // max(1, groups))
    even = greedy(needed, room, most)
    return even if len(even) == groups else greedy(needed, room, len(needed))


def greedy(needed: Sequence[int], room: int, most: int) -> list[list[int]]:
    """Columns 1.. in order, with a new group whenever the space or the group's size is used up."""
    groups: list[list[int]] = []
    left = -1
    for i in range(1, len(needed)):
        if not groups or needed[i] > left or len(groups[-1]) == most:
            groups.append([])
            left = room
        groups[-1].append(i)
        left -= needed[i]
    return groups
