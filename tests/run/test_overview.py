"""What a run's folder says from outside: every state of a job."""

import pytest

from fusionchat.artifacts import begin, make_folder
from fusionchat.errors import ArtifactError
from fusionchat.lease import lease
from fusionchat.run.attempts import Record
from fusionchat.run.coordinate import advance
from fusionchat.run.live import Live, shown
from fusionchat.run.order import lease_path
from fusionchat.run.overview import Line, keep_plan, overview, summary
from tests.run.toy import chain


def states(folder):
    return [line.state for line in overview(folder)]


def test_every_state_of_a_job_is_seen_in_the_order_of_the_plan(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSIONCHAT_NODE", "a")
    planned = chain(tmp_path, texts=("a", "b", "c"))
    jobs = list(planned.jobs.values())
    advance(planned, jobs[:1], None)
    done = overview(tmp_path)[0]
    assert (done.job, done.state, done.node, done.attempt) == ("toy/0", "done", "a", 1) and done.seconds >= 0
    assert states(tmp_path) == ["done", "to do", "to do"]
    make_folder(lease_path(tmp_path, "toy/1").parent)
    with lease(lease_path(tmp_path, "toy/1")):
        begin(tmp_path / "toy/1", jobs[1].fingerprint)
        assert states(tmp_path)[1] == "waiting"
        with (
            Record(tmp_path, "toy/1", jobs[1].fingerprint).attempted(),
            shown(tmp_path, "toy/1", Live(node="b", process=7, attempt=1, began=0.0)),
        ):
            line = overview(tmp_path)[1]
            assert (line.state, line.node, line.process, line.attempt) == ("running", "b", 7, 1)
    stopped = overview(tmp_path)[1]
    assert (stopped.state, stopped.node, stopped.attempt) == ("stopped", "a", 1)


def test_a_job_that_failed_says_why_until_it_is_begun_again(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSIONCHAT_NODE", "a")
    planned = chain(tmp_path, texts=("a", "boom", "c"))
    with pytest.raises(ValueError, match="boom"):
        advance(planned, list(planned.jobs.values()), None)
    line = overview(tmp_path)[1]
    assert states(tmp_path) == ["done", "failed", "to do"]
    assert (line.node, line.attempt, line.words) == ("a", 1, "ValueError: boom")
    with (
        pytest.raises(KeyboardInterrupt),
        Record(tmp_path, "toy/1", planned.jobs["toy/1"].fingerprint).attempted(),
    ):
        raise KeyboardInterrupt
    line = overview(tmp_path)[1]
    assert (line.state, line.attempt, line.words) == ("stopped", 2, "")


def test_a_job_of_another_fingerprint_is_to_do(tmp_path):
    planned = chain(tmp_path)
    advance(planned, list(planned.jobs.values()), None)
    assert states(tmp_path) == ["done"] * 3
    keep_plan(tmp_path, chain(tmp_path, texts=("a", "x", "c")).jobs)
    assert states(tmp_path) == ["done", "to do", "to do"]


def test_the_plan_is_written_once(tmp_path):
    planned = chain(tmp_path)
    keep_plan(tmp_path, planned.jobs)
    before = (tmp_path / "jobs/plan.json").stat().st_mtime_ns
    keep_plan(tmp_path, planned.jobs)
    assert (tmp_path / "jobs/plan.json").stat().st_mtime_ns == before
    (tmp_path / "jobs/plan.json").write_text("{")
    keep_plan(tmp_path, planned.jobs)
    assert states(tmp_path) == ["to do"] * 3


def test_a_folder_of_no_run_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="not a run folder"):
        overview(tmp_path)


def test_it_is_said_in_a_line():
    lines = [
        Line("a", "done", "n", 1, 1, 61.0), Line("b", "running", "n", 2, 2, 5.0, "4 %"), Line("b", "helping", "m", 3),
        Line("c", "waiting"), Line("d", "to do"), Line("e", "stopped"),
        Line("f", "failed"),
    ]  # fmt: skip
    assert summary(lines) == "1 of 6 jobs done, 1 running on 2 nodes, 1 waiting, 1 stopped, 1 failed"
