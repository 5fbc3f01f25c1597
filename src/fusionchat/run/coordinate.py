"""The coordinator: it runs the jobs that are not done, and those whose files are damaged again.

Only the coordinator (or another holder of a job's lease) begins and finishes a job. An engine brings jobs to
processes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from fusionchat.damage import make_again
from fusionchat.errors import DamagedError, RecipeError
from fusionchat.run.engine.engines import run_jobs
from fusionchat.run.job import Announce, Job
from fusionchat.run.overview import keep_plan
from fusionchat.run.plan import Run

Select = Callable[[Run], list[Job]]


def carry_out(
    planned: Run,
    again: Callable[[dict[str, str]], Run],
    select: Select,
    announce: Announce | None,
    *,
    then: Callable[[Run], None] | None = None,
    before: Callable[[Run, list[Job]], None] | None = None,
) -> Run:
    """Run the selected jobs that are not done; returns the run as last planned.

    Args:
        planned: The run as it is planned now.
        again: Plans it again, with the identities of models that are known.
        select: The jobs to run.
        announce: Called before each job with its status.
        then: Called with the finished run; jobs whose files it finds damaged run again, and it is called
            again.
        before: Called with the selected jobs before those that read models, to find early what would stop
            them later.
    """
    seen: set[Path] = set()
    while True:
        try:
            planned = pass_once(planned, again, select, announce, before)
            if then is not None:
                then(planned)
            return planned
        except DamagedError as error:
            job = _owner(planned, error)
            if job is None or error.path in seen:
                raise
            seen.add(error.path)
            make_again(error, keep=job.parts)


def pass_once(
    planned: Run,
    again: Callable[[dict[str, str]], Run],
    select: Select,
    announce: Announce | None,
    before: Callable[[Run, list[Job]], None] | None,
) -> Run:
    """Run the jobs that are not done yet; returns the run as last planned."""
    first = [job for job in select(planned) if job.stands_for]
    advance(planned, first, announce)
    # They may have produced the same files as before, so that nothing that follows is stale.
    planned = again(planned.identities)
    rest = [job for job in select(planned) if job.id not in {done.id for done in first}]
    if before is not None:
        before(planned, rest)
    advance(planned, rest, announce)
    return planned


def advance(planned: Run, jobs: Sequence[Job], announce: Announce | None) -> None:
    """Run the jobs that are not done."""
    keep_plan(planned.folder, planned.jobs)
    todo = []
    for job in jobs:
        status = planned.status(job)
        if status.state == "damaged":
            for error in planned.damage(job):
                make_again(error, keep=job.parts)
        if status.state != "done":
            todo.append(job)
        elif announce is not None:
            announce(job, status)
    run_jobs(planned, todo, announce)


def _owner(planned: Run, error: DamagedError) -> Job | None:
    """The job of this run that wrote a damaged file; None if another run did."""
    folder = error.folder.absolute()  # a worker's path is absolute
    return next((job for job in planned.jobs.values() if planned.path(job.id).absolute() == folder), None)


def require_done(planned: Run, job_id: str) -> Job:
    """A job by its id, after checking that the jobs it needs are done.

    Raises:
        RecipeError: There is no such job, or a job that it needs is not done.
    """
    job = planned.jobs.get(job_id)
    if job is None:
        raise RecipeError(
            f"The recipe has no job {job_id!r}", where="--only", do="see `fusionchat plan` for the jobs"
        )
    missing = [need for need in job.needs if planned.status(planned.jobs[need]).state != "done"]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise RecipeError(
            f"{job_id} needs jobs that are not done: {', '.join(missing[:3])}{more}",
            where="--only",
            do="run them first; `fusionchat plan --commands` lists all in order",
        )
    return job
