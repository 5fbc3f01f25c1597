"""Ranks of this machine under torch's agent, played by short scripts; one real training in two."""

import os
import signal
from types import SimpleNamespace

import pytest
from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

from fusionchat.artifacts import read_json, write_json
from fusionchat.errors import DamagedError, FusionChatError, MachineError, MergeError, RecipeError
from fusionchat.recipe.schema import load_recipe
from fusionchat.run import ranks as module
from fusionchat.run.job import Job, Resources
from fusionchat.run.order import ranks_path
from fusionchat.run.ranks import (
    environment,
    failure_of,
    launch,
    leave_outcome,
    outcome_path,
    own_signals,
    processes_of,
    share_of_threads,
    started_with,
)
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Frozen
from fusionchat.stages.pipeline import run_job
from tests.forked import Forked
from tests.run.files import files_of

JOB = Job(stage="toy", name="a/b", version=1, settings=Frozen(), resources=Resources(threads=4))
SAYS = """
import json, os, sys
rank, run = os.environ["RANK"], sys.argv[2]
def leave(**held):
    with open(f"{run}/jobs/toy/a/b/ranks/rank-{rank}.outcome", "w") as file:
        json.dump(held, file)
"""
WELL = (
    SAYS
    + """
assert sys.argv[3:] == ["toy/a/b", "--as-rank", MARK], sys.argv
names = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "MASTER_ADDR")
leave(summary={name: os.environ[name] for name in names})
"""
)
KILLED = (
    SAYS
    + """
import signal, time
if rank == "1":
    print("on the way", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.3)
leave(kind="RuntimeError", lines=["Connection closed by peer"], time=2.0)
sys.exit(1)
"""
)
FAILS = (
    SAYS
    + """
if rank == "1":
    leave(error={"kind": "MergeError", "what": "no", "where": None, "do": None, "exit_code": 2}, time=1.0)
else:
    leave(kind="RuntimeError", lines=["Connection closed by peer"], time=2.0)
sys.exit(1)
"""
)


def runtime(processes="auto", device="auto"):
    return RuntimeSettings(device=device, training={"processes": processes})


@pytest.mark.parametrize(
    ("processes", "device", "gpus", "count"),
    [("auto", "auto", 0, 1), ("auto", "auto", 8, 8), ("auto", "cuda", 2, 2), ("auto", "cuda:1", 8, 1), ("auto", "cpu", 8, 1),
     (1, "mps", 0, 1), (3, "cpu", 2, 3), (3, "auto", 0, 3), (3, "auto", 4, 3), (1, "cuda:1", 2, 1)],
)  # fmt: skip
def test_processes_by_the_gpus_that_are_there(processes, device, gpus, count):
    assert processes_of(runtime(processes, device), lambda: gpus) == count


def test_more_processes_than_the_device_allows():
    with pytest.raises(
        MachineError, match="A training needs 3 GPUs, one per process, but this job may use 2"
    ):
        processes_of(runtime(3), lambda: 2)
    with pytest.raises(RecipeError, match="2 processes cannot share the device 'cuda:1'"):
        processes_of(runtime(2, "cuda:1"), lambda: 4)


def started(tmp_path, monkeypatch, script):
    text = script.replace("MARK", repr(JOB.fingerprint))
    monkeypatch.setattr(module, "PROGRAM", ("-S", "-c", text))
    monkeypatch.setattr(module.sys, "argv", ["fusionchat"])
    return launch(tmp_path, JOB, 2)


def test_ranks_know_their_world_and_share_the_threads(tmp_path, monkeypatch):
    summary = started(tmp_path, monkeypatch, WELL)
    assert summary == {
        "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "2", "MASTER_ADDR": "127.0.0.1",
    }  # fmt: skip
    assert not ranks_path(tmp_path, JOB.id).exists()


def test_a_killed_rank_is_named_with_the_last_lines_of_its_log(tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(FusionChatError) as caught:
        started(tmp_path, monkeypatch, KILLED)
    what = "Rank 1 of toy/a/b was ended by SIGKILL; its last lines:\n    on the way"
    assert caught.value.what == what and caught.value.exit_code == 3
    assert "if memory ran out" in caught.value.do and ranks_path(tmp_path, JOB.id).is_dir()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_the_first_error_of_a_rank_is_the_job_s(tmp_path, monkeypatch):
    with pytest.raises(FusionChatError, match=r"^no$"):
        started(tmp_path, monkeypatch, FAILS)


def failures(**codes):
    return {int(rank[1:]): SimpleNamespace(exitcode=code) for rank, code in codes.items()}


def test_an_unforeseen_error_is_told_with_its_last_lines(tmp_path):
    def fails():
        raise KeyError("x")

    def memory():
        raise MemoryError

    assert not leave_outcome(tmp_path, 1, fails)
    error = failure_of(JOB, tmp_path, failures(r0=-15, r1=1))
    assert error.what.startswith("Rank 1 of toy/a/b has failed with KeyError; its last lines:\n    ")
    assert error.what.endswith("\n    KeyError: 'x'") and error.exit_code == 1
    leave_outcome(tmp_path, 1, memory)
    error = failure_of(JOB, tmp_path, failures(r1=1))
    assert "MemoryError" in error.what and error.exit_code == 3 and "micro_batch_tokens" in error.do


def test_a_rank_without_an_outcome_or_a_log(tmp_path):
    error = failure_of(JOB, tmp_path, failures(r2=7))
    assert (error.what, error.exit_code) == ("Rank 2 of toy/a/b was ended by exit code 7", 1)


def test_outcomes(tmp_path):
    assert leave_outcome(tmp_path, 0, lambda: {"a": 1})
    assert read_json(outcome_path(tmp_path, 0)) == {"summary": {"a": 1}}

    def damaged():
        raise DamagedError("broken", path=tmp_path / "x", folder=tmp_path)

    assert not leave_outcome(tmp_path, 0, damaged)
    write_json(outcome_path(tmp_path, 1), {"kind": "RuntimeError", "lines": [], "time": 1e12})
    error = failure_of(JOB, tmp_path, failures(r0=1, r1=1))
    assert isinstance(error, DamagedError) and error.path == tmp_path / "x"
    assert not leave_outcome(tmp_path, 2, lambda: (_ for _ in ()).throw(MergeError("late")))


def test_signals_of_the_agent_reach_our_handlers(monkeypatch):
    from torch.distributed.elastic.multiprocessing import SignalException

    seen = []
    old = signal.signal(signal.SIGTERM, lambda *_: seen.append("ours"))
    mine = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SignalException), own_signals():
            signal.signal(signal.SIGTERM, lambda *_: seen.append("theirs"))
            raise SignalException("stopped", signal.SIGTERM)
        assert seen == ["ours"] and signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, old)


def test_threads_are_shared(monkeypatch):
    assert [share_of_threads(threads, 4) for threads in (0, 1, 8, 9)] == [0, 1, 2, 2]
    assert environment(8, 2)["OMP_NUM_THREADS"] == "4" and environment(0, 4)["OMP_NUM_THREADS"] == "1"
    monkeypatch.delenv("FUSIONCHAT_A", raising=False)
    monkeypatch.setenv("FUSIONCHAT_B", "1")
    with started_with({"FUSIONCHAT_A": "2", "FUSIONCHAT_B": "3"}):
        assert (os.environ["FUSIONCHAT_A"], os.environ["FUSIONCHAT_B"]) == ("2", "3")
    assert "FUSIONCHAT_A" not in os.environ and os.environ["FUSIONCHAT_B"] == "1"


def test_a_training_in_two_processes_is_the_training(copied, monkeypatch):
    """The one of a single process differs in the last bits, since sums have another order."""
    import torch
    from safetensors.torch import load_file

    folder = copied / "distill/mixtral@0.5"
    one, files = load_file(folder / "model/model.safetensors"), set(files_of(folder))
    (folder / "manifest.json").unlink()
    (folder / "training.json").unlink()
    recipe = load_recipe("recipe.yaml", ("runtime.training.processes=2",))
    monkeypatch.setattr(subprocess_handler, "Popen", Forked)
    done = run_job(recipe, "distill/mixtral@0.5")
    two = load_file(folder / "model/model.safetensors")
    assert done.manifest("distill/mixtral@0.5").summary["processes"] == 2 and set(files_of(folder)) == files
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4
    assert not all(torch.equal(one[name], two[name]) for name in one)
