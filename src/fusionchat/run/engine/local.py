"""The local engine: jobs in this process one after another, or side by side in worker processes of this machine.

With ``runtime.workers`` more than 1 that many workers (``fusionchat worker RUN --for-engine``) make one job after another,
each with the threads that it names, as soon as the jobs that it needs are done. The results are the same bits.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from fusionchat.artifacts import begin, make_folder, read_json
from fusionchat.console import note
from fusionchat.errors import FusionChatError, MachineError
from fusionchat.lease import lease
from fusionchat.run.job import Announce, Context, Job, Summary
from fusionchat.run.order import lease_path, outcome_path, write_order
from fusionchat.run.planned import Run
from fusionchat.run.work import make, write_manifest
from fusionchat.run.worker import raised

GRACE = 30.0
"""Seconds that a worker has to end before it is killed."""


def run_jobs(planned: Run, jobs: Sequence[Job], announce: Announce | None) -> None:
    """Run jobs that are not done, each after those that it needs.

    Raises:
        FusionChatError: The first that a job met; those that run beside it are finished first.
    """
    for job in planned.jobs.values():
        write_order(planned.folder, job, planned.recipe.runtime)
    workers = min(planned.recipe.runtime.workers, len(jobs))
    if workers > 1:
        SideBySide(planned, jobs, announce, workers).run()
        return
    for job in jobs:
        with job_lease(planned, job):
            if is_left(planned, job, announce):
                make(job, planned.folder, planned.stages, Context(planned.recipe.runtime))


@contextmanager
def job_lease(planned: Run, job: Job) -> Iterator[None]:
    """Hold a job's lease: whoever has it begins and finishes the job."""
    path = lease_path(planned.folder, job.id)
    make_folder(path.parent)
    with lease(path, f"Another process is working on {job.id}"):
        yield


def is_left(planned: Run, job: Job, announce: Announce | None) -> bool:
    """Whether a job whose lease is held is left to do: another process may have made it since it was planned."""
    status = planned.status(job)
    if announce is not None:
        announce(job, status)
    return status.state != "done"


class Event(NamedTuple):
    """A worker is ready for its next job, or (``ended``) its process is no more."""

    worker: "Worker"
    ended: bool


class Worker:
    """A worker process, and the job that it makes.

    Args:
        planned: The run.
        threads: What OpenMP is started with; 0 for all cores.
        events: Where it says that it is ready for a job, or has ended.
    """

    def __init__(self, planned: Run, threads: int, events: "SimpleQueue[Event]") -> None:
        self.planned, self.events = planned, events
        self.job: Job | None = None
        self.held, self.started, self.stopped = ExitStack(), 0.0, False
        debug = ["--debug"] if "--debug" in sys.argv else []
        command = [sys.executable, "-m", "fusionchat", *debug, "worker", str(planned.folder), "--for-engine"]
        environment = dict(os.environ) | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            process_group=0,  # Ctrl-C is for the coordinator: it stops them
        )
        self.readers = [Thread(target=self._hear, daemon=True), Thread(target=self._pass_on, daemon=True)]
        for reader in self.readers:
            reader.start()

    def _hear(self) -> None:
        """Wait for the lines that say that it is ready."""
        assert self.process.stdout is not None
        for _ in self.process.stdout:
            self.events.put(Event(self, ended=False))
        self.events.put(Event(self, ended=True))

    def _pass_on(self) -> None:
        """Print its progress and warnings, but not that it was stopped."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if not self.stopped:
                note(line.rstrip().removeprefix("  "))

    def give(self, job: Job, announce: Announce | None) -> bool:
        """Begin a job and hand it over; returns whether it was left to do."""
        with ExitStack() as held:
            held.enter_context(job_lease(self.planned, job))
            if not is_left(self.planned, job, announce):
                return False
            begin(self.planned.path(job.id), job.fingerprint, parts=job.parts)
            outcome_path(self.planned.folder, job.id).unlink(missing_ok=True)
            self.job, self.started, self.held = job, time.monotonic(), held.pop_all()
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended: that is an event, too
            self.process.stdin.write(f"{job.id} {job.fingerprint}\n")
            self.process.stdin.flush()
        return True

    def finish(self) -> Job:
        """Finish the job that it had; returns it.

        Raises:
            FusionChatError: The worker's own, or that it ended without an outcome.
        """
        job, self.job = self.job, None
        assert job is not None
        with self.held:
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
            write_manifest(job, self.planned.path(job.id), found, time.monotonic() - self.started)
        return job

    def stop(self) -> None:
        """Let the process end."""
        self.stopped = True
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended
            self.process.stdin.close()
        if self.job is not None:
            self.process.terminate()

    def close(self) -> None:
        """Wait until the stopped process has ended, and let go of its job."""
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for reader in self.readers:
            reader.join(GRACE)
        self.held.close()


def lost(job: Job, folder: Path, code: int) -> FusionChatError:
    """The error of a worker that ended without an outcome: its exit code goes on, and a kill is the machine's fault."""
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


class SideBySide:
    """Jobs in worker processes, in order as far as what they need allows.

    Args:
        planned: The run.
        jobs: Jobs that are not done; what they need besides each other is.
        announce: Called before each job with its status.
        workers: How many processes.
    """

    def __init__(self, planned: Run, jobs: Sequence[Job], announce: Announce | None, workers: int) -> None:
        self.planned, self.announce, self.workers = planned, announce, workers
        self.waiting, self.unfinished = list(jobs), {job.id for job in jobs}
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.hands: list[Worker] = []
        self.idle: list[Worker] = []
        self.failed: FusionChatError | None = None

    def run(self) -> None:
        """Run the jobs; after an error no more are begun.

        Raises:
            FusionChatError: The first.
        """
        threads = self.waiting[0].resources.threads
        try:
            for _ in range(self.workers):
                self.hands.append(Worker(self.planned, threads, self.events))
            while (self.waiting and self.failed is None) or any(hand.job for hand in self.hands):
                self._hear(self.events.get())
                self._hand_out()
        finally:
            for hand in self.hands:
                hand.stop()
            for hand in self.hands:
                hand.close()
        if self.failed is not None:
            raise self.failed

    def _hear(self, event: Event) -> None:
        """A worker has finished its job or has ended."""
        hand = event.worker
        if hand.job is not None:
            try:
                self.unfinished.discard(hand.finish().id)
            except FusionChatError as error:
                self.failed = self.failed or error
        if not event.ended:
            self.idle.append(hand)
        elif self.failed is None:
            self.failed = FusionChatError(
                f"A worker ended with exit code {hand.process.wait()}",
                where=str(self.planned.folder),
                do="see its message above; run the same command again to continue",
            )

    def _hand_out(self) -> None:
        """Give jobs to those workers that have none."""
        while self.idle and self.failed is None:
            job = next((job for job in self.waiting if not self.unfinished & set(job.needs)), None)
            if job is None:
                return
            self.waiting.remove(job)
            try:
                if self.idle[-1].give(job, self.announce):
                    self.idle.pop()
                else:
                    self.unfinished.discard(job.id)
            except FusionChatError as error:
                self.failed = error
