"""The local engine: jobs in this process one after another, or side by side in worker processes of this machine.

With ``runtime.workers`` more than 1 that many workers (``fusionchat worker RUN --for-engine``) make one job after another,
each with the threads that it names, as soon as the jobs that it needs are done. The results are the same bits.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from fusionchat.artifacts import begin, make_folder, read_json
from fusionchat.console import note
from fusionchat.errors import FusionChatError
from fusionchat.lease import lease
from fusionchat.run.job import Context, Job, Status, Summary
from fusionchat.run.order import lease_path, outcome_path, write_order
from fusionchat.run.planned import Run
from fusionchat.run.work import make, write_manifest
from fusionchat.run.worker import READY, raised

Announce = Callable[[Job, Status], None]


def run_jobs(planned: Run, jobs: Sequence[Job], announce: Announce | None) -> None:
    """Run jobs that are not done, each after those that it needs.

    Raises:
        FusionChatError: The first that a job met; those that run beside it are finished first.
    """
    for job in planned.jobs.values():
        write_order(planned.folder, job, planned.recipe.runtime)
    workers = min(planned.recipe.runtime.workers, len(jobs))
    if workers > 1:
        side_by_side(planned, jobs, announce, workers)
        return
    for job in jobs:
        if announce is not None:
            announce(job, planned.status(job))
        with job_lease(planned, job):
            make(job, planned.folder, planned.stages, Context(planned.recipe.runtime))


@contextmanager
def job_lease(planned: Run, job: Job) -> Iterator[None]:
    """Hold a job's lease: whoever has it begins and finishes the job."""
    path = lease_path(planned.folder, job.id)
    make_folder(path.parent)
    with lease(path, f"Another process is working on {job.id}"):
        yield


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
        self.held, self.started = ExitStack(), 0.0
        command = [sys.executable, "-m", "fusionchat", "worker", str(planned.folder), "--for-engine"]
        environment = dict(os.environ) | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe
        )
        self.readers = [Thread(target=self._hear, daemon=True), Thread(target=self._pass_on, daemon=True)]
        for reader in self.readers:
            reader.start()

    def _hear(self) -> None:
        """Wait for the lines that say that it is ready; any other line is somebody's print."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == READY:
                self.events.put(Event(self, ended=False))
            else:
                note(line.rstrip())
        self.events.put(Event(self, ended=True))

    def _pass_on(self) -> None:
        """Print its progress and warnings."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            note(line.rstrip().removeprefix("  "))

    def give(self, job: Job) -> None:
        """Begin a job and hand it over."""
        self.held.enter_context(job_lease(self.planned, job))
        self.job, self.started = job, time.monotonic()
        begin(self.planned.path(job.id), job.fingerprint)
        outcome_path(self.planned.folder, job.id).unlink(missing_ok=True)
        assert self.process.stdin is not None
        self.process.stdin.write(f"{job.id}\n")
        self.process.stdin.flush()

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
                raise FusionChatError(
                    f"The worker of {job.id} ended with exit code {self.process.wait()} and left no outcome",
                    where=str(self.planned.path(job.id)),
                    do="see its lines above; run the same command again to continue",
                )
            outcome = read_json(path)
            path.unlink()
            error, summary = outcome.get("error"), outcome.get("summary")
            if isinstance(error, dict):
                raise raised(error)
            assert isinstance(summary, dict)
            found: Summary = summary
            write_manifest(job, self.planned.path(job.id), found, time.monotonic() - self.started)
        return job

    def close(self) -> None:
        """End the process, and let go of its job."""
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended
            self.process.stdin.close()
        if self.job is not None:
            self.process.terminate()
        self.process.wait()
        for reader in self.readers:
            reader.join()
        self.held.close()


def side_by_side(planned: Run, jobs: Sequence[Job], announce: Announce | None, workers: int) -> None:
    """Run jobs in worker processes, in order as far as what they need allows."""
    events: SimpleQueue[Event] = SimpleQueue()
    waiting, unfinished = list(jobs), {job.id for job in jobs}
    idle: list[Worker] = []
    failed: FusionChatError | None = None
    hands = [Worker(planned, jobs[0].resources.threads, events) for _ in range(workers)]
    try:
        while (waiting and failed is None) or any(hand.job for hand in hands):
            event = events.get()
            hand = event.worker
            if hand.job is not None:
                try:
                    unfinished.discard(hand.finish().id)
                except FusionChatError as error:
                    failed = failed or error
            if event.ended:
                failed = failed or FusionChatError(
                    f"A worker ended with exit code {hand.process.wait()}",
                    where=str(planned.folder),
                    do="see its lines above; run the same command again to continue",
                )
            else:
                idle.append(hand)
            while idle and failed is None:
                job = next((job for job in waiting if not unfinished & set(job.needs)), None)
                if job is None:
                    break
                waiting.remove(job)
                if announce is not None:
                    announce(job, planned.status(job))
                idle.pop().give(job)
    finally:
        for hand in hands:
            hand.close()
    if failed is not None:
        raise failed
