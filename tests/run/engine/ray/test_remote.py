"""What runs on a node: the worker, with what it prints in the run's folder."""

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from fusionchat.run.engine.ray import remote
from fusionchat.run.engine.ray.remote import Errand, do, log_path, name_of, packed, printed_to, read_probe


@pytest.fixture
def worker(monkeypatch):
    """Replaces the worker, whose arguments are kept; the environment is as before afterwards."""

    def install(work):
        monkeypatch.setattr("fusionchat.run.worker.outcome_of", work)

    monkeypatch.setattr(remote, "node_name", lambda: "host.abc")
    monkeypatch.setenv("FUSIONCHAT_NODE", "")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    return install


def test_a_job_is_done_by_the_worker_on_a_node_with_a_name(tmp_path, worker):
    given = []

    def work(run, job_id, mark, *, stages, helps, threads):
        given.append(
            (run, job_id, mark, stages["json"] is json, helps, threads, os.environ["FUSIONCHAT_NODE"])
        )
        os.write(1, b"from a library\n")
        return {"summary": {"a": 1}}

    worker(work)
    assert do(Errand(str(tmp_path), "toy/1", "m", 3, packed({"json": json}), helps=True)) == {
        "summary": {"a": 1}
    }
    assert given == [(tmp_path, "toy/1", "m", True, True, 3, "host.abc")]
    assert "from a library" in log_path(tmp_path, "toy/1").read_text()


@pytest.mark.parametrize(("error", "what", "code"), [
    (ValueError("no\nmore"), "toy/1 has failed with ValueError: no", 1), (MemoryError(), "toy/1 ran out of memory", 3),
])  # fmt: skip
def test_an_error_that_nobody_foresaw_is_said_and_its_traceback_kept(
    tmp_path, worker, capfd, error, what, code
):
    def work(*given, **more):
        raise error

    worker(work)
    with capfd.disabled():
        said = do(Errand(str(tmp_path), "toy/1", "m", 1, packed({})))["error"]
    assert said["what"].startswith(what) and said["exit_code"] == code
    assert said["where"] == str(log_path(tmp_path, "toy/1"))
    assert "Traceback" in Path(said["where"]).read_text()


def test_what_is_printed_goes_to_the_file_only_inside(tmp_path, capfd):
    path = tmp_path / "deep/log.txt"
    with capfd.disabled(), printed_to(path):
        sys.stdout.write("inside\n")
        os.write(2, b"error\n")
    os.write(1, b"outside\n")
    assert sorted(path.read_text().split()) == ["error", "inside"]
    assert capfd.readouterr().out == "outside\n"


def test_the_probe_reads_what_is_there(tmp_path):
    (tmp_path / "probe").write_text("token")
    assert read_probe(str(tmp_path / "probe")) == "token" and read_probe(str(tmp_path / "gone")) == ""


def test_a_node_is_its_host_with_the_first_digits_of_its_id():
    assert name_of("host", "0123456789") == "host.012345"
