"""A job's lease is held by one, and what is done meanwhile is left alone."""

import pytest

from fusionchat.lease import HeldError
from fusionchat.run.engine.leased import is_left, job_lease
from fusionchat.run.engine.local import run_jobs
from fusionchat.run.order import lease_path
from tests.run.toy import chain


def test_a_job_s_lease_is_held_by_one(tmp_path):
    planned = chain(tmp_path)
    job = planned.jobs["toy/0"]
    with job_lease(planned, job), pytest.raises(HeldError, match="Another process is working on toy/0"):
        run_jobs(planned, [job], None)
    run_jobs(planned, [job], None)
    assert not is_left(planned, job, None) and is_left(planned, planned.jobs["toy/1"], None)


def test_the_lease_s_file_is_there_while_it_is_held(tmp_path):
    planned = chain(tmp_path)
    path = lease_path(tmp_path, "toy/0")
    with job_lease(planned, planned.jobs["toy/0"]):
        assert path.exists()
    assert not path.exists()


def test_what_is_announced_is_the_state_that_was_found(tmp_path):
    planned, said = chain(tmp_path), []
    job = planned.jobs["toy/0"]
    announce = lambda job, status: said.append((job.id, status.state))  # noqa: E731
    assert is_left(planned, job, announce)
    run_jobs(planned, [job], None)
    assert not is_left(planned, job, announce)
    assert said == [("toy/0", "to do"), ("toy/0", "done")]
