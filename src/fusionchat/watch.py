"""Progress of long work in lines, where there is no bar: its start, every 30 seconds how far it is, its end."""

import threading
import time
from collections.abc import Callable

from fusionchat.units import duration, rate, size

EVERY_S = 30.0
Say = Callable[[str], None]
Also = Callable[[], str]


class Watch:
    """Times one piece of work; in it, steps with a total of their own may begin and end.

    Args:
        label: What the work is called.
        say: Prints a line.
    """

    def __init__(self, label: str, say: Say) -> None:
        self.label, self.say = label, say
        self.started = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.step(label, None, "")

    def step(self, label: str, total: int | None, unit: str, also: Also | None = None) -> None:
        """Start a step of the work; ``also`` returns what each line says besides."""
        self.now, self.total, self.unit, self.done, self.also = label, total, unit, 0, also
        self.since = time.monotonic()

    def advance(self, count: int) -> None:
        """Count units of the step as done."""
        self.done += count

    def line(self) -> str:
        """How far the step is: ``represent qwen: 42 %, 13 conversations/s, 2 min 05 s left``."""
        took = time.monotonic() - self.since
        speed = self.done / took if took > 0 else 0.0
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
        return f"{self.now}: {', '.join(said)}"

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
