"""A job's lease, and whether the job still has to be done once the lease is held."""

from collections.abc import Iterator
from contextlib import contextmanager

from fusionchat.artifacts import make_folder
from fusionchat.lease import lease
from fusionchat.run.job import Announce, Job
from fusionchat.run.order import lease_path
from fusionchat.run.plan import Run


@contextmanager
def job_lease(planned: Run, job: Job) -> Iterator[None]:
    """Hold a job's lease; its holder begins and finishes the job."""
    path = lease_path(planned.folder, job.id)
    make_folder(path.parent)
    with lease(path, f"Another process is working on {job.id}"):
        yield


def is_left(planned: Run, job: Job, announce: Announce | None) -> bool:
    """Whether a job whose lease is held still has to be done.

    Another process may have made it since it was planned.
    """
    status = planned.status(job)
    if announce is not None:
        announce(job, status)
    return status.state != "done"
