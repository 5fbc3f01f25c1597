"""The only place that prints: lines, tables, progress bars and errors, through one rich console."""

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fusionchat.watch import Also, Watch, arrange

Advance = Callable[[int], None]

CAPTION = 100
"""The most columns of the text under a table."""

_out = Console(highlight=False, emoji=False)
_err = Console(stderr=True, highlight=False, emoji=False)
_watch: Watch | None = None
_shown: Watch | None = None


def ignore(_: int) -> None:
    """An `Advance` that does nothing."""


def say(text: str = "", style: str | None = None) -> None:
    """Print one line of plain text to stdout (no markup is read from it)."""
    _out.print(text, style=style, markup=False, soft_wrap=True)


def take_stdout() -> Callable[[str], None]:
    """A function that prints a line to stdout at once, for the process that reads it.

    From now on all other output goes to stderr.
    """
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say_at_once(text: str) -> None:
        lines.write(f"{text}\n")
        lines.flush()

    return say_at_once


def mute() -> None:
    """Print nothing to stdout from now on, since another process prints the same."""
    _out.quiet = True


def stream(text: str, style: str | None = None) -> None:
    """Print text at once and without a line end, for streamed answers and what precedes them."""
    if style is not None:
        _out.print(text, style=style, markup=False, soft_wrap=True, end="")
    else:
        sys.stdout.write(text)
    sys.stdout.flush()


def warn(text: str) -> None:
    """Print a warning to stderr."""
    _err.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


def error(text: str) -> None:
    """Print an error to stderr."""
    _err.print(f"error: {text}", style="bold red", markup=False, soft_wrap=True)


def traceback() -> None:
    """Print the traceback of the error being handled, or just handled, to stderr."""
    _err.print_exception()


def ask(prompt: str) -> str:
    """Read one line from the user, with editing and history on a terminal.

    Elsewhere the line is printed after the prompt, so that the output reads as a dialogue.

    Raises:
        EOFError: At the end of input.
    """
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401 (input() uses it once it is imported)
        bold, plain = ("\001\033[1m\002", "\001\033[0m\002") if is_terminal() else ("", "")
        return input(bold + prompt + plain)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    say(prompt + line.rstrip("\n"))
    return line.rstrip("\n")


def is_terminal() -> bool:
    """Whether the output goes to a terminal with colours."""
    return _out.is_terminal and _out.color_system is not None


def width() -> int:
    """Columns of the terminal (80 without one)."""
    return _out.width


def room() -> int | None:
    """Columns of stdout; None for no limit, if it is no terminal and ``COLUMNS`` is not set."""
    return _out.width if _out.is_terminal or "COLUMNS" in os.environ else None


def table(
    title: str | None,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str | None = None,
    marked: Collection[tuple[int, int]] = (),
    strong: int | None = None,
    left: Collection[int] = (0,),
) -> None:
    """Print a table, with the columns ``left`` left-aligned and the others right-aligned.

    ``marked`` cells (row, column) and the row ``strong`` are highlighted. The caption is wrapped at `CAPTION`
    columns, however narrow the table is.
    """
    grid = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        grid.add_column(
            column, justify="left" if index in left else "right", overflow="fold", no_wrap=index == 0
        )
    for index, row in enumerate(rows):
        cells = (Text(t, "bold green" if (index, i) in marked else "") for i, t in enumerate(row))
        grid.add_row(*cells, style="bold" if index == strong else "")
    _out.print(grid, markup=False)
    if caption:
        _out.print(Text(caption, style="dim italic"), width=min(CAPTION, _out.width))


def so_far() -> str:
    """The progress of this process's current work in words; "" if it does nothing that takes long."""
    return ", ".join(_shown.parts()) if _shown is not None else ""


@contextmanager
def watching(lines: Callable[[int], Sequence[str]]) -> Iterator[None]:
    """Show lines on a terminal while the block runs, updated every second and cut to its height.

    ``lines`` is given the columns of the terminal.
    """
    if not _err.is_terminal:
        yield
        return

    def shown() -> Group:
        return Group(*map(_plain, lines(_err.width)))

    with Live(get_renderable=shown, console=_err, refresh_per_second=1, transient=True):
        yield


@contextmanager
def working(label: str) -> Iterator[None]:
    """Print how long the block took and, without a terminal, its progress every 30 seconds."""
    global _watch, _shown  # noqa: PLW0603 (what is being done, for the bars in it and for who asks)
    outer, shown, mine = _watch, _shown, Watch(label, note)
    _watch = _shown = mine
    if not _err.is_terminal:
        mine.begin()
    well = False
    try:
        yield
        well = True
    finally:
        _watch, _shown = outer, shown
        mine.end(well=well)


def note(line: str) -> None:
    """Print a line about work in progress to stderr."""
    _err.print(f"  {line}", style="dim", markup=False, soft_wrap=True)


class _Bar:
    """A bar with its label and texts, computed whenever it is shown."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A line, or several if the terminal is narrow."""
        watch = self.watch
        label = f"  {watch.now}"
        bar, lines = arrange(label, watch.parts(), options.max_width)
        first = Table.grid(padding=(0, 1, 0, 0))
        cells: list[Text | ProgressBar] = [_plain(label if bar else f"{label}:")]
        if bar:
            total, done = watch.total, min(max(watch.done, 0), watch.total or 0)
            cells.append(ProgressBar(total=total, completed=done, width=bar, pulse=total is None))
        first.add_row(*cells, _plain(lines[0]))
        yield Group(first, *map(_plain, lines[1:]))


def _plain(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


@contextmanager
def progress(
    label: str, total: int | None, unit: str = "", *, also: Also | None = None, before: int = 0
) -> Iterator[Advance]:
    """Show a progress bar on stderr while the block runs; call the yielded function with each advance.

    Without a terminal, lines are printed instead, see `working`; outside of such a block, so are the start
    and the end.

    Args:
        label: What is done.
        total: The number of units; None if unknown.
        unit: What they are, in the plural: "steps"; "bytes" are shown as sizes.
        also: Returns what else is shown, such as the used memory.
        before: How many of them an interrupted run has already done.
    """
    if _watch is None:
        if not _err.is_terminal:
            note(label)
        with working(label), progress(label, total, unit, also=also, before=before) as advance:
            yield advance
        return
    if not _err.is_terminal:
        _watch.step(label, total, unit, also, before=before)
        yield _watch.advance
        return
    global _shown  # noqa: PLW0603 (as above)
    shown, mine = _shown, Watch(label, note)
    mine.step(label, total, unit, also, before=before)
    _shown = mine
    try:
        with Live(_Bar(mine), console=_err, transient=True):
            yield mine.advance
    finally:
        _shown = shown


def side_by_side(title: str, columns: Mapping[str, Sequence[tuple[str, bool]]]) -> None:
    """Print texts in columns; pieces marked True are green, or in «guillemets» without colours."""
    grid = Table(title=title, title_justify="left", header_style="bold", expand=True)
    for name in columns:
        grid.add_column(name, ratio=1, overflow="fold")
    grid.add_row(*map(_marked, columns.values()))
    _out.print(grid, markup=False)


def _marked(pieces: Sequence[tuple[str, bool]]) -> Text:
    text = Text()
    for piece, stands_out in pieces:
        shown = f"«{piece}»" if stands_out and not _out.is_terminal else piece
        text.append(shown, style="black on green" if stands_out else "dim")
    return text
