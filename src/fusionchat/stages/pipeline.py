"""The pipeline: its stages in order, which jobs of a run are done, and running the others.

corpus -> (unpack -> adapt ->) represent -> align -> fuse -> distill -> merge -> evaluate -> report

Later rounds come between distill and merge: answer -> represent -> align -> fuse -> distill.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from fusionchat.artifacts import machine_errors, make_folder, write_text
from fusionchat.console import warn
from fusionchat.lease import lease
from fusionchat.recipe.schema import Recipe
from fusionchat.run.auto import keep, resolve
from fusionchat.run.coordinate import carry_out, require_done
from fusionchat.run.estimate import parameters
from fusionchat.run.job import Announce, Job, Stage, Status
from fusionchat.run.plan import Run
from fusionchat.run.worker import work_as_rank
from fusionchat.run.world import follow, leading, world_here
from fusionchat.stages import (
    adapt,
    align,
    answer,
    corpus,
    distill,
    evaluate,
    fuse,
    merge,
    report,
    represent,
    rounds,
    unpack,
)
from fusionchat.stages.rehearse import rehearse
from fusionchat.threads import pick_threads

STAGES: Mapping[str, Stage] = {
    "corpus": corpus,
    "unpack": unpack,
    "adapt": adapt,
    "represent": represent,
    "align": align,
    "fuse": fuse,
    "distill": distill,
    "answer": answer,
    "merge": merge,
    "evaluate": evaluate,
    "report": report,
}

BEFORE = ("represent", "align", "fuse")
"""Stages before the first training that later rounds repeat."""


class Planned(NamedTuple):
    """A job and its state."""

    job: Job
    status: Status


def open_run(recipe: Recipe, identities: dict[str, str] | None = None, *, verify: bool = False) -> Run:
    """Plan all jobs of a recipe; nothing is written.

    Args:
        recipe: The recipe.
        identities: The identities from an earlier call, so that models are not hashed twice.
        verify: Whether all files of finished jobs are read and compared with their checksums.

    Raises:
        ModelError, CorpusError: A model folder, a template or a corpus file is missing.
    """
    refs = recipe.refs()
    run = Run(
        recipe,
        refs,
        recipe.run_folder,
        STAGES,
        resolve(recipe),
        threads=pick_threads(recipe.runtime.threads, map(parameters, refs.values())),
        identities=identities or {},
        verify=verify,
    )
    for module in (corpus, unpack, adapt, represent, align, fuse, distill, rounds, merge, evaluate, report):
        module.plan(run)
    return run


def plan(recipe: Recipe, *, verify: bool = False) -> list[Planned]:
    """Every job of a recipe with its state, in the order they run.

    With ``verify``, all files are compared with their checksums.
    """
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
    """Run the jobs that are not done yet, up to and including a stage (by default all); returns the run.

    Killed at any moment and started again, it continues where it stopped and ends with the same result. A
    damaged file is made again: it is found as `faults` describes, or when it is read.

    Args:
        recipe: The recipe.
        until: A stage of `STAGES`; only it and the jobs that it needs are run.
        announce: Called before each job with its status.
        verify: Whether all files of finished jobs are read and compared with their checksums first.
        then: Called with the finished run; jobs whose files it finds damaged run again, and it is called
            again.

    Raises:
        FusionChatError: It says what is wrong, where, and what to do.
    """
    if world_here().rank:
        return follow_rank_0(recipe)
    with leading(recipe.runtime):
        return lead(recipe, until, announce, then, verify=verify)


def lead(
    recipe: Recipe,
    until: str | None,
    announce: Announce | None,
    then: Callable[[Run], None] | None,
    *,
    verify: bool,
) -> Run:
    """`run` in the process that plans and writes."""
    planned = begin_run(recipe, verify=verify)
    with machine_errors(planned.folder), lease(planned.folder / ".lease"):
        write_text(planned.folder / "recipe.json", recipe.model_dump_json(indent=1) + "\n")
        keep(planned.folder, planned.resolved)

        def again(identities: dict[str, str]) -> Run:
            return open_run(recipe, identities, verify=verify)

        return carry_out(planned, again, lambda run: needed(run, until), announce, then=then, before=rehearse)


def run_job(recipe: Recipe, job_id: str, announce: Announce | None = None) -> Run:
    """Run one job of a recipe whose needs are done, for users who place the jobs themselves.

    Raises:
        RecipeError: There is no such job, or a job that it needs is not done.
    """
    if world_here().rank:
        return follow_rank_0(recipe)
    with leading(recipe.runtime):
        planned = begin_run(recipe)
        require_done(planned, job_id)
        keep(planned.folder, planned.resolved)

        def again(identities: dict[str, str]) -> Run:
            return open_run(recipe, identities)

        return carry_out(planned, again, lambda run: [require_done(run, job_id)], announce, before=rehearse)


def follow_rank_0(recipe: Recipe) -> Run:
    """Do this rank's part of the trainings that rank 0 runs; returns the run as it is afterwards."""
    follow(lambda run, job_id, mark: work_as_rank(run, job_id, mark, STAGES))
    return open_run(recipe)


def begin_run(recipe: Recipe, *, verify: bool = False) -> Run:
    """The planned run, after creating its folder and printing what another machine chose."""
    planned = open_run(recipe, verify=verify)
    for line in planned.resolved.notices():
        warn(line)
    make_folder(planned.folder)
    return planned


def needed(planned: Run, until: str | None) -> list[Job]:
    """The jobs of a stage and all jobs that they need, in order; all jobs for None."""
    if until is None:
        return list(planned.jobs.values())
    # Verbs that end before a training do not need the captures of later rounds.
    wanted = {
        job.id
        for job in planned.jobs.values()
        if job.stage == until and (until not in BEFORE or getattr(job.settings, "of", None) is None)
    }
    for job in reversed(planned.jobs.values()):
        if job.id in wanted:
            wanted |= set(job.needs)
    return [job for job in planned.jobs.values() if job.id in wanted]
