"""What a working process publishes about its job, for those who look from outside.

The file is ``RUN/jobs/STAGE/NAME/live-HOST-PID.status``.

It is rewritten every few seconds during the work, and removed at its end. A file that was not written for
`SILENT` seconds belongs to a process that has died.
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
"""Seconds without a sign after which a process counts as dead.

Compiling a kernel may delay it.
"""


class Live(Frozen):
    """A process at work.

    Attributes:
        node: The node of the process.
        process: Its pid there.
        attempt: Which attempt at the job this is; 0 for a helper, which makes shards.
        began: Unix time.
        words: Its progress in words.
    """

    node: str
    process: int
    attempt: int
    began: float
    words: str = ""


@contextmanager
def shown(run: Path, job_id: str, mine: Live) -> Iterator[None]:
    """Publish this process's progress with a job while the block runs."""
    path = run / ORDERS / job_id / f"live-{this_host()}-{os.getpid()}.status"
    make_folder(path.parent)
    over = Event()

    def sign() -> None:
        with suppress(OSError):  # nothing is published; the work continues
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
    """Replace the file, without `write_json`, since it need not survive a crash."""
    partial = path.with_suffix(".partial")
    partial.write_text(live.model_dump_json(), encoding="utf-8")
    partial.replace(path)


def at_work(run: Path, job_id: str) -> list[Live]:
    """The processes that work on a job now; the one that has begun it comes first."""
    found = []
    for path in sorted((run / ORDERS / job_id).glob("live-*.status")):
        with suppress(OSError, ValueError):  # it has just ended
            if time.time() - path.stat().st_mtime < SILENT:
                found.append(Live.model_validate_json(path.read_text(encoding="utf-8")))
    return sorted(found, key=lambda one: (one.attempt == 0, one.began))
