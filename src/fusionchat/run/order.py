"""A job's order: the job as JSON, with everything that another process needs to make it.

The file is ``RUN/jobs/STAGE/NAME.json``.

The coordinator writes the orders; a worker reads an order, not the recipe.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fusionchat.artifacts import Json, read_json, write_json
from fusionchat.errors import ArtifactError
from fusionchat.run.job import Job, Stage
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Frozen

ORDERS = "jobs"


class Order(NamedTuple):
    """A job, how its work is done, and the folder that relative paths start from."""

    job: Job
    runtime: RuntimeSettings
    directory: Path


def order_path(run: Path, job_id: str) -> Path:
    """The file of a job's order; its lease and outcome have the same name with other endings."""
    return run / ORDERS / f"{job_id}.json"


def lease_path(run: Path, job_id: str) -> Path:
    """The file of a job's lease."""
    return run / ORDERS / f"{job_id}.lease"


def outcome_path(run: Path, job_id: str) -> Path:
    """The file of a job's result, which a worker writes for the coordinator that started it."""
    return run / ORDERS / f"{job_id}.outcome"


def failure_path(run: Path, job_id: str) -> Path:
    """The file that records why a job has failed."""
    return run / ORDERS / f"{job_id}.failure"


def helper_path(run: Path, job_id: str, pid: int) -> Path:
    """The file of the result of a worker's help with a job."""
    return run / ORDERS / job_id / f"helper-{pid}.outcome"


def ranks_path(run: Path, job_id: str) -> Path:
    """The folder of the outcomes and logs of a job's ranks."""
    return run / ORDERS / job_id / "ranks"


def write_order(run: Path, job: Job, runtime: RuntimeSettings) -> None:
    """Write a job's order, unless the same one exists already."""
    held = {
        "job": job.model_dump(mode="json"),
        "runtime": runtime.model_dump(mode="json"),
        "directory": str(Path.cwd()),
    }
    path = order_path(run, job.id)
    with suppress(ArtifactError):  # a damaged one is written again
        if path.is_file() and read_json(path) == held:
            return
    write_json(path, held)


def read_order(run: Path, job_id: str, stages: Mapping[str, Stage]) -> Order:
    """A job's order.

    Raises:
        ArtifactError: There is none, or another version of FusionChat wrote it.
    """
    path = order_path(run, job_id)
    if not path.is_file():
        raise ArtifactError(
            f"This run has no job {job_id!r}",
            where=str(path),
            do="use STAGE/NAME as `fusionchat plan` lists it; `fusionchat run` writes the jobs of a run",
        )
    held = read_json(path)
    try:
        job = job_of(held["job"], stages)
        return Order(job, RuntimeSettings.model_validate(held["runtime"]), Path(str(held["directory"])))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"This file is not a job of this version of FusionChat: {str(error).splitlines()[0]}",
            where=str(path),
            do="run `fusionchat run` with the recipe again: it rewrites the jobs",
        ) from error


def job_of(held: Json, stages: Mapping[str, Stage]) -> Job:
    """A job from its JSON."""
    assert isinstance(held, dict)
    settings: Frozen = stages[str(held["stage"])].settings_of(held["settings"])  # type: ignore[arg-type]
    return Job.model_validate(held | {"settings": settings})


def enter(directory: Path) -> None:
    """Change to the coordinator's working directory, so that relative paths mean the same."""
    if directory.is_dir():
        os.chdir(directory)
