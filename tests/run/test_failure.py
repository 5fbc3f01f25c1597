"""Why a job has failed: kept by whoever finishes it, until it is begun again."""

import pytest

from fusionchat.errors import FusionChatError
from fusionchat.run.attempts import Record
from fusionchat.run.failure import Failure, failure_noted, failure_of, note_failure
from tests.run.toy import chain


@pytest.fixture
def job(tmp_path):
    return chain(tmp_path).jobs["toy/1"]


def found(run, job):
    return failure_of(run, job.id, job.fingerprint)


def test_the_error_is_kept_in_one_line_with_the_attempt(tmp_path, job):
    assert found(tmp_path, job) is None
    with Record(tmp_path, job.id, job.fingerprint).attempted():
        pass
    with (
        pytest.raises(FusionChatError),
        failure_noted(tmp_path, job),
    ):
        raise FusionChatError("It is\n  wrong", where="toy")
    assert found(tmp_path, job) == Failure(mark=job.fingerprint, attempt=1, what="It is wrong")
    note_failure(tmp_path, job, ValueError("no"))
    assert found(tmp_path, job).what == "ValueError: no"


def test_it_is_no_more_once_the_job_is_begun_again_or_has_another_fingerprint(tmp_path, job):
    note_failure(tmp_path, job, ValueError("no"))
    assert found(tmp_path, job).attempt == 0 and failure_of(tmp_path, job.id, "other") is None
    with Record(tmp_path, job.id, job.fingerprint).attempted():
        pass
    assert found(tmp_path, job) is None


def test_an_interrupt_is_no_failure_and_a_folder_that_takes_no_file_hides_no_error(tmp_path, job):
    with pytest.raises(KeyboardInterrupt), failure_noted(tmp_path, job):
        raise KeyboardInterrupt
    assert found(tmp_path, job) is None
    (tmp_path / "jobs").write_text("")
    with pytest.raises(ValueError, match="no"), failure_noted(tmp_path, job):
        raise ValueError("no")
