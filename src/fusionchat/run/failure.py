"""Why a job has failed, for other processes to read: ``RUN/jobs/STAGE/NAME.failure``.

The process that finishes a job writes it. It is valid until the job is begun again.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fusionchat.artifacts import make_folder, write_json
from fusionchat.errors import FusionChatError
from fusionchat.run.attempts import last_attempt
from fusionchat.run.job import Job
from fusionchat.run.order import failure_path
from fusionchat.settings import Frozen


class Failure(Frozen):
    """Why an attempt at a job has failed.

    Attributes:
        mark: The job's fingerprint.
        attempt: Which attempt was the last; 0 for none.
        what: The error in one line.
    """

    mark: str
    attempt: int
    what: str


def note_failure(run: Path, job: Job, error: Exception) -> None:
    """Record why a job has failed; if that is impossible, the error itself still says it."""
    attempt = last_attempt(run, job.id, job.fingerprint)
    what = error.what if isinstance(error, FusionChatError) else f"{type(error).__name__}: {error}"
    line = " ".join(what.split())
    failure = Failure(mark=job.fingerprint, attempt=attempt.attempt if attempt else 0, what=line)
    path = failure_path(run, job.id)
    with suppress(OSError, FusionChatError):
        make_folder(path.parent)
        write_json(path, failure.model_dump())


@contextmanager
def failure_noted(run: Path, job: Job) -> Iterator[None]:
    """Record why a job has failed if the block raises an error."""
    try:
        yield
    except Exception as error:
        note_failure(run, job, error)
        raise


def failure_of(run: Path, job_id: str, mark: str) -> Failure | None:
    """Why the last attempt at a job with a fingerprint failed; None if it did not, or if unknown."""
    with suppress(OSError, ValueError):
        found = Failure.model_validate_json(failure_path(run, job_id).read_text(encoding="utf-8"))
        attempt = last_attempt(run, job_id, mark)
        if found.mark == mark and found.attempt == (attempt.attempt if attempt else 0):
            return found
    return None
