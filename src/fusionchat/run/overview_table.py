"""What a run is doing, as a table that fits a terminal.

The least important columns are dropped first, then names are shortened in the middle.
"""

from collections.abc import Sequence
from textwrap import wrap

from fusionchat.run.overview import Line
from fusionchat.units import duration

WHOLE = ("job", "state", "node", "process", "attempt", "time", "progress")
SHORT = ("job", "state", "node", "time", "progress")
"""The columns without the process; an attempt after the first is named before the progress."""
GAP, INDENT, CUT = "  ", "    ", "…"
LEAST = 12
"""The least width of a shortened name."""
TO_THE_RIGHT = ("process", "attempt", "time")


def table(lines: Sequence[Line], width: int | None) -> list[str]:
    """The lines of a table, its head first.

    Args:
        lines: The jobs.
        width: Columns of the terminal; None for no limit. If the progress of some jobs does not fit beside
            them, every job's progress goes into lines below it.
    """
    whole = aligned(WHOLE, [(*_who(line), *_numbers(line), _time(line), line.words) for line in lines])
    if width is None or _fit(whole, width):
        return whole
    rows = [(*_who(line), _time(line), words_of(line)) for line in lines]
    short = aligned(SHORT, rows)
    return short if _fit(short, width) else _in_two_lines(rows, width)


def words_of(line: Line) -> str:
    """A job's progress, and which attempt it is after the first."""
    attempt = f"attempt {line.attempt}" if line.attempt > 1 else ""
    return (": " if line.state == "failed" else ", ").join(filter(None, (attempt, line.words)))


def _who(line: Line) -> tuple[str, str, str]:
    return line.job, line.state, line.node


def _numbers(line: Line) -> tuple[str, str]:
    return str(line.process or ""), str(line.attempt or "")


def _time(line: Line) -> str:
    return "" if line.seconds is None else duration(line.seconds)


def _fit(said: Sequence[str], width: int) -> bool:
    return max(map(len, said)) <= width


def _in_two_lines(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Rows with shortened names, and the progress of each job below it."""
    head, beside = SHORT[:-1], [row[:-1] for row in rows]
    for name in ("node", "job"):
        index, too_long = head.index(name), max(map(len, aligned(head, beside))) - width
        room = max(LEAST, max(len(row[index]) for row in beside) - too_long)
        if too_long > 0:
            beside = [(*row[:index], cut(row[index], room), *row[index + 1 :]) for row in beside]
    first, *others = aligned(head, beside)
    said = [first]
    for line, row in zip(others, rows, strict=True):
        said += [line, *wrap(row[-1], width, initial_indent=INDENT, subsequent_indent=INDENT)]
    return said


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in aligned columns, with numbers on the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        GAP.join(
            cell.rjust(room) if name in TO_THE_RIGHT else cell.ljust(room)
            for name, cell, room in zip(head, row, widths, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def cut(name: str, room: int) -> str:
    """A name, with its middle left out if it is longer than ``room``: ``ip-10-0-11….0a1b2c``."""
    if len(name) <= room:
        return name
    end = (room - 1) // 2
    return f"{name[: room - 1 - end]}{CUT}{name[len(name) - end :]}"
