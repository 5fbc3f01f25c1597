"""A worker: it makes one job in a process of its own, from the job's order and its inputs alone.

Started by an engine, it does the work of a job whose lease the engine holds, and writes an outcome. Started
by a user, it takes the lease itself, so it begins and finishes the job, too. If another process holds the
lease, it helps with the job's shards, if it has shards.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from threading import Thread

from fusionchat.artifacts import Json, is_begun, make_folder, read_manifest, write_json
from fusionchat.console import take_stdout
from fusionchat.damage import damaged_files, make_again
from fusionchat.errors import ArtifactError, FusionChatError
from fusionchat.lease import HeldError, lease
from fusionchat.run.execute import do_work, make
from fusionchat.run.job import Context, Job, Stage, Summary, content_digest
from fusionchat.run.order import Order, enter, helper_path, lease_path, outcome_path, ranks_path, read_order
from fusionchat.run.outcome import told
from fusionchat.run.ranks import leave_outcome
from fusionchat.run.world import world_here


class Did(Enum):
    """What a worker did."""

    NOTHING = "is done already"
    MADE = "done"
    HELPED = "no shard is left to make; its coordinator finishes it"


READY = "ready"
"""A worker's message to its engine that it waits for a job."""
HELPS = "helps"
"""An engine's mark after a job that another worker has."""
GRACE = 30.0
"""Seconds that a worker whose coordinator has died has to end."""


def serve(run: Path, stages: Mapping[str, Stage]) -> None:
    """Work for the engine that started this process, over stdin and stdout, and end with it."""
    Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    work_for_engine(run, sys.stdin, take_stdout(), stages)


def end_with(parent: int) -> None:
    """Wait until the parent has ended, then end this process, since its job may begin again elsewhere."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


def work_for_engine(
    run: Path, lines: Iterable[str], say: Callable[[str], None], stages: Mapping[str, Stage]
) -> None:
    """Do the work of jobs that an engine has begun, write each outcome, and say `READY` before each job.

    A line is a job's id and fingerprint, and `HELPS` if another worker has it and only shards are to be made.
    """
    run = run.absolute()
    say(READY)
    for line in lines:
        job_id, mark, *more = line.split()
        make_outcome(run, job_id, mark, stages=stages, helps=more == [HELPS])
        say(READY)


def make_outcome(
    run: Path, job_id: str, mark: str, *, stages: Mapping[str, Stage], helps: bool = False
) -> None:
    """Do the work of a job, or help with it, and write the result: a summary, or the error."""
    path = helper_path(run, job_id, os.getpid()) if helps else outcome_path(run, job_id)
    make_folder(path.parent)
    write_json(path, outcome_of(run, job_id, mark, stages=stages, helps=helps))


def outcome_of(
    run: Path, job_id: str, mark: str, *, stages: Mapping[str, Stage], helps: bool = False, threads: int = 0
) -> dict[str, Json]:
    """Do the work of a job, or help with it; returns its ``summary`` or the ``error``.

    ``threads`` is as for `marked_order`.
    """
    try:
        order = marked_order(run, job_id, mark, stages, threads=threads)
        return {"summary": do_work(order.job, run, stages, Context(order.runtime, helps=helps))}
    except FusionChatError as error:
        return {"error": dict(told(error))}


def marked_order(
    run: Path, job_id: str, mark: str, stages: Mapping[str, Stage], *, threads: int = 0
) -> Order:
    """The order of a job, after changing to the working directory of its paths.

    Args:
        run: The run's folder.
        job_id: The job.
        mark: The job's expected fingerprint.
        stages: The stages by name.
        threads: CPU threads of a job that leaves them open, if it may not use all cores.

    Raises:
        ArtifactError: There is none, or the job has another fingerprint, because two recipes share the
            folder.
    """
    order = read_order(run, job_id, stages)
    if order.job.fingerprint != mark:
        raise ArtifactError(
            f"Another process planned {job_id} differently",
            where=str(run),
            do="use one recipe with one run folder at a time",
        )
    enter(order.directory)
    return order._replace(job=order.job.with_threads(threads))


def work_as_rank(
    run: Path, job_id: str, mark: str, stages: Mapping[str, Stage], *, threads: int = 0
) -> Summary:
    """Do the work of a job as one rank of the world that this process is in.

    ``threads`` are those of all ranks, as for `marked_order`.
    """
    world = world_here()
    order = marked_order(run, job_id, mark, stages, threads=threads)
    return do_work(order.job, run, stages, Context(order.runtime, world.rank, world.size))


def serve_rank(run: Path, job_id: str, mark: str, stages: Mapping[str, Stage]) -> bool:
    """Run a rank that `fusionchat.run.ranks.launch` has started; returns whether it succeeded.

    The process ends with the one that started it.
    """
    run = run.absolute()
    Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    folder = ranks_path(run, job_id)
    well = leave_outcome(folder, world_here().rank, lambda: work_as_rank(run, job_id, mark, stages))
    if well:
        from fusionchat.distill.parallel import part

        part()
    return well


def work_alone(run: Path, job_id: str, stages: Mapping[str, Stage]) -> Did:
    """Make a job, or help the process that is making it.

    Raises:
        ArtifactError: A job that it needs is not done, or has changed since the order was written.
        HeldError: Another process is making it, and it has no shards.
    """
    run = run.absolute()
    order = read_order(run, job_id, stages)
    enter(order.directory)
    job, folder = order.job, run / job_id
    require_inputs(run, job)
    make_folder(lease_path(run, job_id).parent)
    try:
        with lease(lease_path(run, job_id), f"Another process is working on {job_id}"):
            manifest = read_manifest(folder)
            if manifest is not None and manifest.fingerprint == job.fingerprint:
                damaged = damaged_files(folder, manifest)
                if not damaged:
                    return Did.NOTHING
                for error in damaged:
                    make_again(error, keep=job.parts)
            make(job, run, stages, Context(order.runtime))
            return Did.MADE
    except HeldError:
        if job.resources.parallel != "shards" or not is_begun(folder, job.fingerprint):
            raise
    do_work(job, run, stages, Context(order.runtime, helps=True))
    return Did.HELPED


def require_inputs(run: Path, job: Job) -> None:
    """Check that the jobs that a job needs are done, and unchanged since its order was written.

    Raises:
        ArtifactError: They are not.
    """
    for need in job.needs:
        manifest = read_manifest(run / need)
        if manifest is None:
            raise ArtifactError(
                f"{job.id} needs {need}, which is not done", where=str(run / need), do="make it first"
            )
        if job.inputs[need] not in (manifest.fingerprint, content_digest(manifest, job.reads.get(need, ()))):
            raise ArtifactError(
                f"{need} is not what {job.id} was planned with",
                where=str(run / need),
                do="run `fusionchat run` with the recipe again: it plans the jobs again",
            )
