"""An engine's handle of a worker process: which job it has, and what it reports.

The process itself is `fusionchat.run.worker`.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from fusionchat.artifacts import begin, read_json
from fusionchat.console import note
from fusionchat.errors import FusionChatError, MachineError
from fusionchat.run.engine.gpus import VISIBLE, Gpus
from fusionchat.run.engine.leased import is_left, job_lease
from fusionchat.run.execute import write_manifest
from fusionchat.run.failure import failure_noted
from fusionchat.run.job import Announce, Job, Summary
from fusionchat.run.order import helper_path, outcome_path
from fusionchat.run.outcome import raised
from fusionchat.run.plan import Run
from fusionchat.run.worker import HELPS

GRACE = 30.0
"""Seconds that a worker has to end before it is killed."""


class Event(NamedTuple):
    """A worker is ready for its next job, or its process has ``ended``."""

    worker: "Worker"
    ended: bool


class Worker:
    """A worker process, and the job that it makes or helps with.

    Args:
        planned: The run.
        threads: OpenMP's threads; 0 for all cores.
        events: Where it reports that it is ready for a job, or has ended.
        gpus: The GPUs that it sees; None if GPUs are not shared.
    """

    def __init__(
        self, planned: Run, threads: int, events: "SimpleQueue[Event]", gpus: Gpus | None = None
    ) -> None:
        self.planned, self.events, self.gpus = planned, events, gpus or ()
        self.job: Job | None = None
        self.helping: Job | None = None
        self.held, self.started, self.stopped = ExitStack(), 0.0, False
        debug = ["--debug"] if "--debug" in sys.argv else []
        command = [sys.executable, "-m", "fusionchat", *debug, "worker", str(planned.folder), "--for-engine"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command,
            env=environment(threads, gpus),
            text=True,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            process_group=0,  # Ctrl-C goes to the coordinator, which stops them
        )
        self.readers = [Thread(target=self._hear, daemon=True), Thread(target=self._pass_on, daemon=True)]
        for reader in self.readers:
            reader.start()

    def _hear(self) -> None:
        """Wait for the lines that report that it is ready."""
        assert self.process.stdout is not None
        for _ in self.process.stdout:
            self.events.put(Event(self, ended=False))
        self.events.put(Event(self, ended=True))

    def _pass_on(self) -> None:
        """Print its progress and warnings, except that it was stopped."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if not self.stopped:
                note(line.rstrip().removeprefix("  "))

    def give(self, job: Job, announce: Announce | None) -> bool:
        """Begin a job and hand it over; returns False if it is done already."""
        with ExitStack() as held:
            held.enter_context(job_lease(self.planned, job))
            if not is_left(self.planned, job, announce):
                return False
            begin(self.planned.path(job.id), job.fingerprint, parts=job.parts)
            outcome_path(self.planned.folder, job.id).unlink(missing_ok=True)
            self.job, self.started, self.held = job, time.monotonic(), held.pop_all()
        self._tell(f"{job.id} {job.fingerprint}")
        return True

    def help(self, job: Job) -> None:
        """Have it make shards of a job that another worker has."""
        self.helping = job
        self._tell(f"{job.id} {job.fingerprint} {HELPS}")

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended, which is an event too
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()

    def finish(self) -> Job:
        """Finish the job that it had; returns it.

        Raises:
            FusionChatError: The worker's own error, or that it ended without an outcome.
        """
        job, self.job = self.job, None
        assert job is not None
        with self.held, failure_noted(self.planned.folder, job):
            path = outcome_path(self.planned.folder, job.id)
            if not path.is_file():
                raise lost(job, self.planned.path(job.id), self.process.wait())
            outcome = read_json(path)
            path.unlink()
            error, summary = outcome.get("error"), outcome.get("summary")
            if isinstance(error, dict):
                raise raised(error)
            assert isinstance(summary, dict)
            found: Summary = summary
            write_manifest(job, self.planned.folder, found, time.monotonic() - self.started)
        return job

    def helped(self) -> str:
        """End its help; returns its error, "" for none.

        The job's own worker will run into the same error.
        """
        job, self.helping = self.helping, None
        assert job is not None
        path = helper_path(self.planned.folder, job.id, self.process.pid)
        if not path.is_file():
            return "it ended"
        error = read_json(path).get("error")
        path.unlink()
        return str(error["what"]) if isinstance(error, dict) else ""

    def stop(self) -> None:
        """Ask the process to end."""
        self.stopped = True
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended
            self.process.stdin.close()
        if self.job is not None or self.helping is not None:
            self.process.terminate()

    def close(self) -> None:
        """Wait until the stopped process has ended, and release its job."""
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for reader in self.readers:
            reader.join(GRACE)
        if self.helping is not None:
            helper_path(self.planned.folder, self.helping.id, self.process.pid).unlink(missing_ok=True)
        self.held.close()


def environment(threads: int, gpus: Gpus | None) -> dict[str, str]:
    """The environment of a worker's process: ours, its threads, and the GPUs that it sees."""
    own = dict(os.environ) | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    return own if gpus is None else own | {VISIBLE: ",".join(gpus)}


def lost(job: Job, folder: Path, code: int) -> FusionChatError:
    """The error for a worker that ended without an outcome.

    Its exit code is passed on; a kill is the machine's error.
    """
    if code < 0:
        name = signal.Signals(-code).name
        what, do = (
            f"was killed by {name}",
            "if memory ran out, lower runtime.workers; then run again to continue",
        )
    else:
        what = f"ended with exit code {code}"
        do = "see its message above; run the same command again to continue"
    error = FusionChatError(f"The worker of {job.id} {what}", where=str(folder), do=do)
    error.exit_code = code if code > 0 else MachineError.exit_code
    return error
