"""What a run is doing, on the terminal."""

import time
from pathlib import Path

from fusionchat import console
from fusionchat.run.overview import COLUMNS, cells, overview, summary

EVERY = 2.0


def show(run: Path) -> None:
    """Print a line for each job, and how many are done."""
    lines = overview(run)
    console.table(str(run), COLUMNS, [cells(line) for line in lines], left=(0, 1, 2, 6))
    console.say(summary(lines))


def follow(run: Path) -> None:
    """Show it until all jobs are done or Ctrl-C: on a terminal one table, elsewhere the last line whenever it changes."""
    said = ""
    with console.watching(lambda: (COLUMNS, [cells(line) for line in overview(run)])):
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
