"""What a run is doing, on the terminal."""

import time
from pathlib import Path

from fusionchat import console
from fusionchat.run.overview import overview, summary
from fusionchat.run.overview_table import table

EVERY = 2.0


def show(run: Path) -> None:
    """Print a line for each job, and how many are done."""
    lines = overview(run)
    head, *rows = table(lines, console.room())
    console.say(str(run))
    console.say(head, style="bold")
    for row in rows:
        console.say(row)
    console.say(summary(lines))


def follow(run: Path) -> None:
    """Show the status until all jobs are done or Ctrl-C.

    On a terminal it is one table; elsewhere, the last line is printed whenever it changes.
    """
    said = ""

    def shown(width: int) -> list[str]:
        lines = overview(run)
        return [summary(lines), *table(lines, width)]

    with console.watching(shown):
        while True:
            lines = overview(run)
            now = summary(lines)
            if now != said and not console.is_terminal():
                console.say(now)
            said = now
            if all(line.state == "done" for line in lines):
                break
            time.sleep(EVERY)
    show(run)
