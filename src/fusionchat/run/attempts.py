"""Who has worked on a job, and on each of its shards: node, process and attempt.

Every process has a file of its own, ``RUN/jobs/STAGE/NAME/attempts-HOST-PID.jsonl``, with a line when it
begins and one when it succeeds, so that no process writes into another's file, even on a network file system.
The files belong to the run, not to its artifacts: no fingerprint or checksum covers them. Their content for a
finished job goes into its manifest.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from fusionchat.artifacts import Json, make_folder
from fusionchat.host import this_host
from fusionchat.run.order import ORDERS
from fusionchat.settings import Frozen

NODE = "FUSIONCHAT_NODE"
"""The environment variable with an engine's name for the node of a process."""


class Attempt(Frozen):
    """Work on a job, or on one shard of it.

    Attributes:
        mark: The job's fingerprint.
        shard: Which shard; None for the job itself.
        attempt: 1 for the first time that a process began it, 2 for the second ...
        node: The node of the process.
        process: Its pid there.
        began: Unix time.
        seconds: How long it took; None until it has succeeded.
    """

    mark: str
    shard: int | None
    attempt: int
    node: str
    process: int
    began: float
    seconds: float | None = None

    @property
    def who(self) -> dict[str, Json]:
        """The attempt as a manifest records it."""
        return {
            "node": self.node,
            "process": self.process,
            "attempt": self.attempt,
            "began": round(self.began, 3),
            "seconds": self.seconds,
        }


def node_here() -> str:
    """The name of this process's node: the engine's, else the host's."""
    return os.environ.get(NODE) or this_host()


class Record:
    """The attempts at a job and its shards, read from their files; each line is read once.

    Use one record for as long as a process works on the job, so that each line is parsed only once in all
    queries.

    Args:
        run: The run's folder.
        job_id: The job.
        mark: Its fingerprint.
    """

    def __init__(self, run: Path, job_id: str, mark: str) -> None:
        self.folder, self.mark = run / ORDERS / job_id, mark
        self._read = dict[Path, int]()
        """Bytes of each file that were read, in complete lines."""
        self._found = dict[tuple[int, int, str, int], Attempt]()
        self._last = dict[int | None, int]()

    def attempts(self) -> list[Attempt]:
        """All attempts, each once, by shard and attempt."""
        self._go_on()
        return [self._found[key] for key in sorted(self._found)]

    @contextmanager
    def attempted(self, shard: int | None = None) -> Iterator[Attempt]:
        """Record that this process begins the job or a shard, and, if the block succeeds, that it made it."""
        self._go_on()
        mine = Attempt(
            mark=self.mark,
            shard=shard,
            attempt=self._last.get(shard, 0) + 1,
            node=node_here(),
            process=os.getpid(),
            began=time.time(),
        )
        path = self.folder / f"attempts-{this_host()}-{mine.process}.jsonl"
        begun = time.monotonic()
        _append(path, mine)
        yield mine
        _append(path, mine.model_copy(update={"seconds": round(time.monotonic() - begun, 3)}))

    def _go_on(self) -> None:
        """Read what was written since the last call, except for an unfinished line."""
        for path in sorted(self.folder.glob("attempts-*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                lines, end, _ = file.read().rpartition(b"\n")
            self._read[path] = self._read.get(path, 0) + len(lines) + len(end)
            for line in lines.splitlines():
                self._hear(line)

    def _hear(self, line: bytes) -> None:
        with suppress(ValidationError):  # cut off by a crash
            one = Attempt.model_validate_json(line)
            if one.mark == self.mark:
                self._found[_order(one)] = one
                self._last[one.shard] = max(one.attempt, self._last.get(one.shard, 0))


def _append(path: Path, attempt: Attempt) -> None:
    make_folder(path.parent)
    with path.open("a", encoding="utf-8") as file:
        file.write(attempt.model_dump_json() + "\n")


def _order(one: Attempt) -> tuple[int, int, str, int]:
    return -1 if one.shard is None else one.shard, one.attempt, one.node, one.process


def attempts(run: Path, job_id: str, mark: str) -> list[Attempt]:
    """All attempts at a job with a fingerprint and at its shards, each once, by shard and attempt."""
    return Record(run, job_id, mark).attempts()


def last_attempt(run: Path, job_id: str, mark: str) -> Attempt | None:
    """The last attempt at a job itself; None if no process has begun it."""
    tried = [one for one in attempts(run, job_id, mark) if one.shard is None]
    return tried[-1] if tried else None


def makers(run: Path, job_id: str, mark: str) -> dict[str, Json]:
    """Who made a job, as its manifest says it; empty if nothing was recorded.

    ``shards`` has the same by index, if the job has shards.
    """
    made = {one.shard: one.who for one in attempts(run, job_id, mark) if one.seconds is not None}
    if None not in made:
        return {}
    shards = {str(shard): who for shard, who in made.items() if shard is not None}
    return {**made[None], **({"shards": shards} if shards else {})}  # type: ignore[dict-item]
