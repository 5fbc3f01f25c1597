"""A job's order: JSON from which another process makes it."""

import json
from pathlib import Path

import pytest

from fusionchat.artifacts import write_json
from fusionchat.errors import ArtifactError
from fusionchat.run.order import enter, job_of, lease_path, order_path, outcome_path, read_order, write_order
from fusionchat.runtime import RuntimeSettings
from tests.run.toy import Words, chain

RUNTIME = RuntimeSettings(device="cpu", batch_tokens=7)


@pytest.fixture
def planned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return chain(tmp_path / "run", texts=("a", "b"))


def test_lease_outcome_and_order_lie_side_by_side(tmp_path):
    names = [
        path(tmp_path, "fuse/a@0.5").relative_to(tmp_path).as_posix()
        for path in (order_path, lease_path, outcome_path)
    ]
    assert names == ["jobs/fuse/a@0.5.json", "jobs/fuse/a@0.5.lease", "jobs/fuse/a@0.5.outcome"]


def test_a_job_is_read_as_it_was_written(planned, tmp_path):
    job = planned.jobs["toy/1"]
    write_order(planned.folder, job, RUNTIME)
    order = read_order(planned.folder, job.id, planned.stages)
    assert order == (job, RUNTIME, tmp_path) and type(order.job.settings) is Words
    assert order.job.fingerprint == job.fingerprint
    assert job_of(json.loads(job.model_dump_json()), planned.stages) == job


def test_an_order_that_is_there_is_not_written_again(planned):
    job, path = planned.jobs["toy/0"], order_path(planned.folder, "toy/0")
    write_order(planned.folder, job, RUNTIME)
    before = path.stat().st_ino
    write_order(planned.folder, job, RUNTIME)
    assert path.stat().st_ino == before
    write_order(planned.folder, job, RuntimeSettings(device="cpu"))
    assert path.stat().st_ino != before
    path.write_text("{")
    write_order(planned.folder, job, RUNTIME)
    assert read_order(planned.folder, job.id, planned.stages).runtime == RUNTIME


def test_an_order_that_is_none_is_refused(planned):
    with pytest.raises(ArtifactError, match="This run has no job 'toy/0'"):
        read_order(planned.folder, "toy/0", planned.stages)
    write_order(planned.folder, planned.jobs["toy/0"], RUNTIME)
    path = order_path(planned.folder, "toy/0")
    held = json.loads(path.read_text())
    for wrong in (
        {"job": held["job"]},
        {**held, "job": {**held["job"], "stage": "gone"}},
        {**held, "runtime": {"gpus": 1}},
    ):
        write_json(path, wrong)
        with pytest.raises(ArtifactError, match="not a job of this version"):
            read_order(planned.folder, "toy/0", planned.stages)


def test_relative_paths_start_from_where_they_did(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    enter(tmp_path / "gone")
    assert Path.cwd() == Path("/")
    enter(tmp_path)
    assert Path.cwd() == tmp_path
