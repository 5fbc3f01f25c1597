"""What a process says of the job that it works on, for those who look from outside: ``RUN/jobs/STAGE/NAME/live-HOST-PID.status``.

The file is written anew every few seconds while the work goes on, and removed when it ends. One that nobody has written for
`SILENT` seconds is of a process that is gone.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from fusionchat.artifacts import make_folder
from fusionchat.console import so_far
from fusionchat.host import this_host
from fusionchat.run.order import ORDERS
from fusionchat.settings import Frozen

EVERY = 2.0
SILENT = 45.0
"""Seconds without a sign after which a process counts as gone: a compiled kernel may hold it up for some."""


class Live(Frozen):
    """A process at work.

    Attributes:
        node: Where.
        process: Its pid there.
        attempt: Which attempt at the job this is; 0 for a helper, which takes shards.
        began: Unix time.
        words: How far it is.
    """

    node: str
    process: int
    attempt: int
    began: float
    words: str = ""


@contextmanager
def shown(run: Path, job_id: str, mine: Live) -> Iterator[None]:
    """Say how far this process is with a job while the block runs."""
    path = run / ORDERS / job_id / f"live-{this_host()}-{os.getpid()}.status"
    make_folder(path.parent)
    over = Event()

    def sign() -> None:
        with suppress(OSError):  # who looks sees nothing; the work goes on
            _write(path, mine.model_copy(update={"words": so_far()}))

    def beat() -> None:
        while not over.wait(EVERY):
            sign()

    sign()
    teller = Thread(target=beat, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
        path.unlink(missing_ok=True)


def _write(path: Path, live: Live) -> None:
    """Replace the file: no `write_json`, since nothing is lost where it does not survive a crash."""
    partial = path.with_suffix(".partial")
    partial.write_text(live.model_dump_json(), encoding="utf-8")
    partial.replace(path)


def at_work(run: Path, job_id: str) -> list[Live]:
    """The processes that work on a job now, who has begun it first."""
    found = []
    for path in sorted((run / ORDERS / job_id).glob("live-*.status")):
        with suppress(OSError, ValueError):  # it ended in the meantime
            if time.time() - path.stat().st_mtime < SILENT:
                found.append(Live.model_validate_json(path.read_text(encoding="utf-8")))
    return sorted(found, key=lambda one: (one.attempt == 0, one.began))
