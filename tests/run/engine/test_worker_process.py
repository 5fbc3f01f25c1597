"""A worker process of the engine, played by a short script."""

import subprocess
import sys
from queue import SimpleQueue

import pytest

from fusionchat.artifacts import is_begun, read_manifest, write_json
from fusionchat.errors import MergeError
from fusionchat.run.engine import worker_process as module
from fusionchat.run.engine.worker_process import Worker, environment, lost
from fusionchat.run.order import helper_path, lease_path, outcome_path
from fusionchat.run.outcome import told
from tests.run.toy import chain

READY = "import sys\nprint('ready', flush=True)\nfor line in sys.stdin:\n    print('ready', flush=True)\n"
DIES = "import sys\nprint('ready', flush=True)\nsys.stdin.readline()\nsys.exit(5)\n"


@pytest.mark.parametrize(
    ("code", "says", "exit_code"),
    [(-9, "was killed by SIGKILL", 3), (3, "ended with exit code 3", 3), (1, "ended with exit code 1", 1)],
)
def test_a_worker_without_an_outcome_ends_the_run_with_its_exit_code(tmp_path, code, says, exit_code):
    error = lost(chain(tmp_path).jobs["toy/1"], tmp_path, code)
    assert error.what == f"The worker of toy/1 {says}" and error.exit_code == exit_code


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A function that starts a worker that is this script: (run, worker, its events)."""
    started = []

    def get(script=READY):
        begin = subprocess.Popen
        monkeypatch.setattr(
            module.subprocess,
            "Popen",
            lambda _, **options: begin([sys.executable, "-S", "-c", script], **options),
        )
        planned, events = chain(tmp_path), SimpleQueue()
        started.append(Worker(planned, 1, events))
        monkeypatch.setattr(module.subprocess, "Popen", begin)
        assert events.get(timeout=30) == (started[-1], False)
        return planned, started[-1], events

    yield get
    for one in started:
        one.stop()
        one.close()


def test_a_job_is_begun_handed_over_and_finished(worker, tmp_path):
    planned, hand, events = worker()
    job = planned.jobs["toy/0"]
    assert hand.give(job, None) and hand.job is job
    assert is_begun(tmp_path / "toy/0", job.fingerprint) and lease_path(tmp_path, job.id).exists()
    assert events.get(timeout=30) == (hand, False)
    write_json(outcome_path(tmp_path, job.id), {"summary": {"length": 3}})
    assert hand.finish() is job and hand.job is None
    assert read_manifest(tmp_path / "toy/0").summary == {"length": 3}
    assert not lease_path(tmp_path, job.id).exists() and not outcome_path(tmp_path, job.id).exists()
    assert not hand.give(job, None) and hand.job is None  # it is done


def test_the_worker_s_error_is_the_run_s(worker, tmp_path):
    planned, hand, events = worker()
    hand.give(planned.jobs["toy/0"], None)
    events.get(timeout=30)
    write_json(outcome_path(tmp_path, "toy/0"), {"error": told(MergeError("They do not fit", where="a"))})
    with pytest.raises(Exception, match="They do not fit") as caught:
        hand.finish()
    assert caught.value.exit_code == 2 and not lease_path(tmp_path, "toy/0").exists()
    assert read_manifest(tmp_path / "toy/0") is None


def test_a_worker_that_ended_is_an_event_and_its_job_is_lost(worker):
    planned, hand, events = worker(DIES)
    hand.give(planned.jobs["toy/0"], None)
    assert events.get(timeout=30) == (hand, True)
    with pytest.raises(Exception, match="The worker of toy/0 ended with exit code 5") as caught:
        hand.finish()
    assert caught.value.exit_code == 5


def test_help_leaves_a_note_or_an_error(worker, tmp_path):
    planned, hand, events = worker()
    job, path = planned.jobs["toy/0"], helper_path(tmp_path, "toy/0", hand.process.pid)
    path.parent.mkdir(parents=True, exist_ok=True)
    for held, expected in (
        ({"summary": {}}, ""),
        ({"error": told(MergeError("x"))}, "x"),
        (None, "it ended"),
    ):
        hand.help(job)
        assert hand.helping is job and events.get(timeout=30) == (hand, False)
        if held is not None:
            write_json(path, held)
        assert hand.helped() == expected and hand.helping is None and not path.exists()


@pytest.mark.parametrize(
    ("threads", "gpus", "expected"),
    [
        (0, None, {}),
        (2, None, {"OMP_NUM_THREADS": "2"}),
        (0, ("1", "3"), {module.VISIBLE: "1,3"}),
        (0, (), {module.VISIBLE: ""}),
    ],
)
def test_what_a_process_is_started_with(monkeypatch, threads, gpus, expected):
    for name in ("OMP_NUM_THREADS", module.VISIBLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINE", "kept")
    found = environment(threads, gpus)
    assert found["MINE"] == "kept"
    assert {name: found[name] for name in ("OMP_NUM_THREADS", module.VISIBLE) if name in found} == expected
