"""The pipeline: its stages in order, what of a run is done, and running the rest.

corpus -> represent -> align -> fuse -> distill -> merge -> evaluate -> report
"""

import importlib
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from fusionchat.artifacts import (
    Manifest,
    begin,
    checksums,
    finish,
    machine_errors,
    make_folder,
    stamp_of,
    write_text,
)
from fusionchat.console import warn, working
from fusionchat.damage import discard
from fusionchat.errors import DamagedError, FusionChatError, RecipeError
from fusionchat.estimate import parameters
from fusionchat.jobs import Job, Run, Status
from fusionchat.models import resolve
from fusionchat.precision import keep_dtypes, resolve_dtypes
from fusionchat.recipe import Recipe
from fusionchat.rehearse import rehearse
from fusionchat.threads import pick_threads, set_threads

STAGES = ("corpus", "represent", "align", "fuse", "distill", "merge", "evaluate", "report")
PACKAGES = ("fusionchat", "torch", "transformers", "tokenizers", "numpy", "numba")

Announce = Callable[[Job, Status], None]


class Planned(NamedTuple):
    """A job and its state."""

    job: Job
    status: Status


def open_run(recipe: Recipe, identities: dict[str, str] | None = None, *, verify: bool = False) -> Run:
    """Plan all jobs of a recipe; nothing is written.

    Args:
        recipe: The recipe.
        identities: Those of an earlier call, so that models are not hashed twice.
        verify: Whether all files of finished jobs are read and compared with their checksums.

    Raises:
        ModelError, CorpusError: A model folder, a template or a corpus file is missing.
    """
    stages = {stage: importlib.import_module(f"fusionchat.{stage}.stage") for stage in STAGES}
    versions = {stage: module.VERSION for stage, module in stages.items()}
    dtypes = resolve_dtypes(recipe)
    run = Run(
        recipe,
        resolve(recipe),
        recipe.run_folder,
        versions,
        dtypes,
        identities=identities or {},
        verify=verify,
    )
    for module in stages.values():
        module.plan(run)
    return run


def plan(recipe: Recipe, *, verify: bool = False) -> list[Planned]:
    """Every job of a recipe with its state, in the order they run; with ``verify``, by the checksums of all files."""
    run = open_run(recipe, verify=verify)
    return [Planned(job, run.status(job)) for job in run.jobs.values()]


def run(
    recipe: Recipe,
    *,
    until: str | None = None,
    announce: Announce | None = None,
    then: Callable[[Run], None] | None = None,
    verify: bool = False,
) -> Run:
    """Run what is not done yet, up to and including a stage (all of it by default).

    Killed at any moment and started again, it goes on where it was and ends with the same result. A damaged file is made
    again: it is found as `faults` says, or when it is read.

    Args:
        recipe: The recipe.
        until: A stage of `STAGES`; only it and what it needs are run.
        announce: Called before each job with its status.
        verify: Whether all files of finished jobs are read and compared with their checksums first.
        then: Called with the finished run; what it finds damaged is made again, and it is called again.

    Raises:
        FusionChatError: With what is wrong, where, and what to do.
    """
    refuse_many_processes()
    planned = open_run(recipe, verify=verify)
    for line in planned.dtypes.notices():
        warn(line)
    set_threads(pick_threads(recipe.runtime.threads, map(parameters, planned.refs.values())))
    make_folder(planned.folder)
    with machine_errors(planned.folder), lock(planned.folder):
        write_text(planned.folder / "recipe.json", recipe.model_dump_json(indent=1) + "\n")
        keep_dtypes(planned.folder, planned.dtypes)
        seen: set[Path] = set()
        while True:
            try:
                planned = pass_once(recipe, planned, until, announce)
                if then is not None:
                    then(planned)
                return planned
            except DamagedError as error:
                job = _owner(planned, error)
                if job is None or error.path in seen:
                    raise
                seen.add(error.path)
                make_again(error, job)


def pass_once(recipe: Recipe, planned: Run, until: str | None, announce: Announce | None) -> Run:
    """Run what is not done yet; returns the run as it was planned last."""
    first = [job for job in needed(planned, until) if job.stands_for]
    advance(planned, first, announce)
    # What they made may be what was there before: then nothing that follows is stale.
    planned = open_run(recipe, planned.identities, verify=planned.verify)
    rest = [job for job in needed(planned, until) if job.id not in {done.id for done in first}]
    rehearse(planned, rest)
    advance(planned, rest, announce)
    return planned


def make_again(error: DamagedError, job: Job) -> None:
    """Say that a file of a job is damaged, and remove what has to be made again."""
    warn(f"{error.path}: {error.what[0].lower()}{error.what[1:]}. It is made again.")
    discard(error, keep=job.parts)


def _owner(planned: Run, error: DamagedError) -> Job | None:
    """The job of this run that wrote a damaged file, None where it is of another run."""
    return next((job for job in planned.jobs.values() if planned.path(job.id) == error.folder), None)


def advance(planned: Run, jobs: list[Job], announce: Announce | None) -> None:
    """Run those of the jobs that are not done."""
    for job in jobs:
        status = planned.status(job)
        if announce is not None:
            announce(job, status)
        for error in planned.damage(job) if status.state == "damaged" else ():
            make_again(error, job)
        if status.state != "done":
            execute(planned, job)


def needed(planned: Run, until: str | None) -> list[Job]:
    """The jobs of a stage and all that they need, in order; every job for None."""
    if until is None:
        return list(planned.jobs.values())
    wanted = {job.id for job in planned.jobs.values() if job.stage == until}
    for job in reversed(planned.jobs.values()):
        if job.id in wanted:
            wanted |= set(job.needs)
    return [job for job in planned.jobs.values() if job.id in wanted]


def execute(planned: Run, job: Job) -> None:
    """Run one job and write its manifest, last."""
    folder = planned.path(job.id)
    begin(folder, job.fingerprint)
    started = time.monotonic()
    with machine_errors(folder), working(job.label):
        summary = job.work(folder)
    files = {
        name: digest for name, digest in checksums(folder).items() if Path(name).name not in job.rewritten
    }
    finish(
        folder,
        Manifest(
            fingerprint=job.fingerprint,
            settings=job.settings,
            inputs=job.inputs,
            files=files,
            versions={name: version(name) for name in PACKAGES},
            seconds=round(time.monotonic() - started, 3),
            summary=summary,
            version=job.version,
            stamps={name: stamp_of(folder / name) for name in files},
        ),
    )


class lock:
    """Hold a run folder against a second process; the operating system lets go when this one dies."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"

    def __enter__(self) -> None:
        """Take the lock or raise FusionChatError."""
        import fcntl

        self.file = self.path.open("w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.file.close()
            raise FusionChatError(
                "Another process is working on this run",
                where=str(self.path.parent),
                do="wait for it, or stop it first",
            ) from error

    def __exit__(self, *_: object) -> None:
        """Let go."""
        self.file.close()


def refuse_many_processes() -> None:
    """Several processes would each run every stage; say so instead."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            "FusionChat runs in one process for now",
            where="WORLD_SIZE is greater than 1",
            do="start `fusionchat run` without torchrun or accelerate launch",
        )
