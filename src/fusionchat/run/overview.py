"""What a run is doing, read from its folder: a line for each job, and for each helper."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from fusionchat.artifacts import is_begun, read_json, read_manifest, write_json
from fusionchat.errors import ArtifactError
from fusionchat.lease import EXPIRES
from fusionchat.run.attempts import last_attempt
from fusionchat.run.failure import failure_of
from fusionchat.run.job import Job
from fusionchat.run.live import at_work
from fusionchat.run.order import ORDERS, lease_path
from fusionchat.units import counted

PLAN = "plan.json"
State = Literal["done", "running", "helping", "waiting", "stopped", "failed", "to do"]


class Line(NamedTuple):
    """A job, or a process that helps with it.

    Attributes:
        job: Its id.
        state: waiting: it is begun, and no worker has it yet. stopped: it is begun, and nobody works on it.
            failed: the same, and its last attempt ended with an error.
        node: The node that works on it; "" for none.
        process: The pid there; 0 for none.
        attempt: Which attempt; 0 for none, and for a helper.
        seconds: How long it took, or has taken so far; None for none.
        words: Its progress in words, or the error of its last attempt.
    """

    job: str
    state: State
    node: str = ""
    process: int = 0
    attempt: int = 0
    seconds: float | None = None
    words: str = ""


def keep_plan(run: Path, jobs: Mapping[str, Job]) -> None:
    """Save a run's jobs in order with their fingerprints, for those who look from outside."""
    path = run / ORDERS / PLAN
    held = {"jobs": {name: job.fingerprint for name, job in jobs.items()}}
    with suppress(ArtifactError):  # a damaged one is written again
        if path.is_file() and read_json(path) == held:
            return
    write_json(path, held)


def overview(run: Path) -> list[Line]:
    """A line for each job of a run, in the order of the plan.

    Raises:
        ArtifactError: The folder is not a run's.
    """
    path = run / ORDERS / PLAN
    if not path.is_file():
        raise ArtifactError(
            "This is not a run folder",
            where=str(run),
            do="use the folder that `fusionchat run` prints at its end",
        )
    planned = read_json(path)["jobs"]
    assert isinstance(planned, dict)
    return [line for job_id, mark in planned.items() for line in lines_of(run, job_id, str(mark))]


def lines_of(run: Path, job_id: str, mark: str) -> list[Line]:
    """The lines of one job."""
    manifest = read_manifest(run / job_id)
    if manifest is not None and manifest.fingerprint == mark:
        made = manifest.made
        node, process, attempt = made.get("node", ""), made.get("process", 0), made.get("attempt", 0)
        return [Line(job_id, "done", str(node), _int(process), _int(attempt), manifest.seconds)]
    now = time.time()
    working = [
        Line(
            job_id,
            "running" if one.attempt else "helping",
            one.node,
            one.process,
            one.attempt,
            max(0.0, now - one.began),
            one.words,
        )
        for one in at_work(run, job_id)
    ]
    if working:
        return working
    if _is_held(run, job_id):
        return [Line(job_id, "waiting")]
    if not is_begun(run / job_id, mark):
        return [Line(job_id, "to do")]
    return [_stopped(run, job_id, mark)]


def _stopped(run: Path, job_id: str, mark: str) -> Line:
    """The line of a job that was begun and that no process works on."""
    last, failure = last_attempt(run, job_id, mark), failure_of(run, job_id, mark)
    state: State = "stopped" if failure is None else "failed"
    words = "" if failure is None else failure.what
    if last is None:
        return Line(job_id, state, words=words)
    return Line(job_id, state, last.node, last.process, last.attempt, last.seconds, words)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _is_held(run: Path, job_id: str) -> bool:
    """Whether some process holds the job's lease and has renewed it recently."""
    with suppress(OSError):
        return time.time() - lease_path(run, job_id).stat().st_mtime < EXPIRES
    return False


def summary(lines: Sequence[Line]) -> str:
    """``12 of 25 jobs done, 3 running on 2 nodes, 1 stopped``."""
    jobs = {line.job for line in lines}
    done = sum(line.state == "done" for line in lines)
    running = {line.job for line in lines if line.state == "running"}
    nodes = {line.node for line in lines if line.state in ("running", "helping")}
    said = [f"{done} of {counted(len(jobs), 'job')} done"]
    if running:
        said.append(f"{len(running)} running on {counted(len(nodes), 'node')}")
    said += [
        f"{count} {state}"
        for state in ("waiting", "stopped", "failed")
        if (count := sum(line.state == state for line in lines))
    ]
    return ", ".join(said)
