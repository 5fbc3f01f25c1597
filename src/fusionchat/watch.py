"""Progress of long work in words: beside a bar or, without one, in lines.

Lines are printed at the start, every 30 seconds, and at the end.
"""

import threading
import time
from collections.abc import Callable, Sequence

from rich.cells import cell_len

from fusionchat.units import duration, rate, size

EVERY_S = 30.0
Say = Callable[[str], None]
Also = Callable[[], str]


BAR, LEAST_BAR = 40, 8
"""The most columns of a bar, and the least; with less space there is none."""


def arrange(label: str, parts: Sequence[str], width: int) -> tuple[int, list[str]]:
    """The layout of a label, a bar and the texts beside it in lines of ``width`` columns.

    Returns:
        The columns of the bar, 0 for none, and the text after it in lines: the first is the label's, the
        others are indented. No part is broken.
    """
    text, indent = ", ".join(parts), "    "
    room = width - cell_len(label) - 2
    bar = min(BAR, room - cell_len(text))
    if bar >= LEAST_BAR:
        return bar, [text]
    lines = [""]
    for part in parts:
        first = len(lines) == 1
        joined = f"{lines[-1]}, {part}" if lines[-1] else part
        if cell_len(joined) < (room if first else width):
            lines[-1] = joined
        else:
            lines = [*lines[:-1], f"{lines[-1]}," if lines[-1] else "", indent + part]
    return 0, lines


class Watch:
    """Times one piece of work, in which steps with totals of their own may begin and end.

    Args:
        label: The name of the work.
        say: Prints a line.
    """

    def __init__(self, label: str, say: Say) -> None:
        self.label, self.say = label, say
        self.started = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.step(label, None, "")

    def step(
        self, label: str, total: int | None, unit: str, also: Also | None = None, *, before: int = 0
    ) -> None:
        """Start a step; ``also`` returns what each line adds, ``before`` is what was done earlier."""
        self.now, self.total, self.unit, self.also = label, total, unit, also
        self.done = self.before = before
        self.since = time.monotonic()

    def advance(self, count: int) -> None:
        """Count units of the step as done."""
        self.done += count

    def line(self) -> str:
        """The step's progress: ``represent qwen: 42 %, 13 conversations/s, 2 min 05 s left``."""
        return f"{self.now}: {', '.join(self.parts())}"

    def parts(self) -> list[str]:
        """The step's progress, piece by piece: share or size, rate, time left or taken, and `also`'s text."""
        took = time.monotonic() - self.since
        speed = (self.done - self.before) / took if took > 0 else 0.0
        said = []
        if self.total:
            said.append(f"{100 * self.done // self.total} %")
        elif self.done and self.unit == "bytes":
            said.append(size(self.done))
        if speed and self.unit:
            said.append(rate(speed, self.unit))
        if speed and self.total:
            said.append(f"{duration(max(self.total - self.done, 0) / speed)} left")
        else:
            said.append(f"{duration(time.monotonic() - self.started)} so far")
        if self.also:
            said.append(self.also())
        return said

    def begin(self) -> None:
        """Print a line every 30 seconds from now on."""
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def _tick(self) -> None:
        while not self._over.wait(EVERY_S):
            self.say(self.line())

    def end(self, *, well: bool) -> None:
        """Stop, and print how long it took if it ended ``well``."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if well:
            self.say(f"{self.label}: done in {duration(time.monotonic() - self.started)}")
