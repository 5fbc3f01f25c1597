"""One job is executed in this process: begun, worked on, finished; the manifest comes last."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

from fusionchat.artifacts import (
    Manifest,
    begin,
    checksums,
    finish,
    machine_errors,
    stamp_of,
)
from fusionchat.console import working
from fusionchat.errors import ArtifactError, DamagedError
from fusionchat.models.device import cuda_count
from fusionchat.run.attempts import Record, makers, node_here
from fusionchat.run.failure import failure_noted
from fusionchat.run.job import Context, Inputs, Job, Stage, Summary
from fusionchat.run.live import Live, shown
from fusionchat.run.ranks import launch, processes_of, share_of_threads
from fusionchat.run.world import summon, world_here
from fusionchat.threads import set_threads

PACKAGES = ("fusionchat", "torch", "transformers", "tokenizers", "numpy", "numba")


def make(job: Job, run: Path, stages: Mapping[str, Stage], ctx: Context) -> None:
    """Begin a job, do its work here, and finish it; its lease must be held."""
    folder = run / job.id
    begin(folder, job.fingerprint, parts=job.parts)
    started = time.monotonic()
    with failure_noted(run, job):
        summary = do_work(job, run, stages, ctx)
        write_manifest(job, run, summary, time.monotonic() - started)


def do_work(job: Job, run: Path, stages: Mapping[str, Stage], ctx: Context) -> Summary:
    """Do a job's work in the folder that was begun for it: here, or in ranks if the job has them."""
    if job.resources.parallel == "ranks" and ctx.world == 1:
        world = world_here()
        if world.size > 1:
            return lead_work(job, run, stages, replace(ctx, rank=world.rank, world=world.size))
        if (count := processes_of(ctx.runtime, cuda_count)) > 1:
            return launch(run, job, count)
    return work_here(job, run, stages, ctx)


def lead_work(job: Job, run: Path, stages: Mapping[str, Stage], ctx: Context) -> Summary:
    """Do a job's work as rank 0 of processes that were started elsewhere."""
    summon(run, job)
    try:
        return work_here(job, run, stages, ctx)
    except DamagedError as error:  # made again, it would be read only by this process
        raise ArtifactError(
            error.what, where=error.where, do="run `fusionchat run --verify` once, which makes it again"
        ) from error


def work_here(job: Job, run: Path, stages: Mapping[str, Stage], ctx: Context) -> Summary:
    """Do a job's work, or a rank's part of it, in this process; rank 0 shows the progress."""
    folder = run / job.id
    threads = job.resources.threads
    set_threads(threads if ctx.world == 1 else share_of_threads(threads, world_here().local_size))
    with machine_errors(folder), seen(job, run, ctx) if ctx.rank == 0 else nullcontext():
        return stages[job.stage].work(job.settings, Inputs(run, job), folder, ctx)


@contextmanager
def seen(job: Job, run: Path, ctx: Context) -> Iterator[None]:
    """Print how long the work takes, record who does it, and publish its progress for other processes."""
    attempt = nullcontext() if ctx.helps else Record(run, job.id, job.fingerprint).attempted()
    with working(job.label), attempt as noted:
        number = noted.attempt if noted is not None else 0
        mine = Live(node=node_here(), process=os.getpid(), attempt=number, began=time.time())
        with shown(run, job.id, mine):
            yield


def write_manifest(job: Job, run: Path, summary: Summary, seconds: float) -> None:
    """Finish a job whose work is done."""
    folder = run / job.id
    files = {
        name: digest for name, digest in checksums(folder).items() if Path(name).name not in job.rewritten
    }
    finish(
        folder,
        Manifest(
            fingerprint=job.fingerprint,
            settings=job.hashed,
            inputs=job.inputs,
            files=files,
            versions=dict(versions()),
            seconds=round(seconds, 3),
            summary=summary,
            version=job.version,
            stamps={name: stamp_of(folder / name) for name in files},
            made=makers(run, job.id, job.fingerprint),
        ),
    )


@cache
def versions() -> dict[str, str]:
    """The versions of `PACKAGES`, looked up once, since that reads their metadata."""
    return {name: version(name) for name in PACKAGES}
