"""Workers of one machine: which of them get which GPUs, and captures that several make together."""

import pytest

from fusionchat.errors import MachineError
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.engine import side_by_side as module
from fusionchat.run.engine.side_by_side import SideBySide
from fusionchat.run.engine.worker_process import Worker, environment
from fusionchat.run.job import Resources
from fusionchat.stages.pipeline import open_run, run
from tests.run.files import files_of
from tests.run.toy import chain


class Hand:
    """A worker without a process: ready when it is started, and done when it is told so."""

    started: list[tuple[str, ...]] = []  # noqa: RUF012

    def __init__(self, planned, threads, events, gpus=None):
        self.gpus, self.job, self.helping = gpus or (), None, None
        self.events, self.ended = events, False
        Hand.started.append(self.gpus)
        events.put(module.Event(self, ended=False))

    def give(self, job, announce):
        self.job = job
        self.events.put(module.Event(self, ended=False))
        announce(job, self.gpus)
        return True

    def finish(self):
        job, self.job = self.job, None
        return job

    def help(self, job):
        raise AssertionError("nothing to help with")

    def stop(self):
        self.ended = True

    def close(self):
        assert self.ended


def made_with(tmp_path, monkeypatch, needs, gpus, workers):
    """The GPUs that each job of a chain is made with, and those that each worker was started with."""
    Hand.started = []
    monkeypatch.setattr(module, "Worker", Hand)
    planned = chain(tmp_path)
    jobs = [
        job.model_copy(update={"resources": Resources(gpus=need), "needs": ()})
        for job, need in zip(planned.jobs.values(), needs, strict=False)
    ]
    given = []
    SideBySide(planned, jobs, lambda job, own: given.append((job.id, own)), workers, gpus).run()
    return dict(given), Hand.started


def test_jobs_get_the_gpus_that_they_need(tmp_path, monkeypatch):
    given, started = made_with(tmp_path, monkeypatch, (1, 2), ("4", "5", "6"), 2)
    assert started[:2] == [("4",), ("5",)]
    sizes = {job: len(gpus) for job, gpus in given.items()}
    assert sizes == {"toy/0": 1, "toy/1": 2}
    assert all(set(gpus) <= {"4", "5", "6"} for gpus in given.values())


def test_without_gpus_nothing_is_said_of_them(tmp_path, monkeypatch):
    given, started = made_with(tmp_path, monkeypatch, (1, 2), (), 2)
    assert set(given.values()) == {()} and started == [(), ()]
    assert "CUDA_VISIBLE_DEVICES" not in environment(2, None).keys() - __import__("os").environ.keys()
    assert environment(2, ("1", "3"))["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert environment(2, ())["CUDA_VISIBLE_DEVICES"] == "" and environment(2, ())["OMP_NUM_THREADS"] == "2"


def test_more_gpus_than_there_are_is_an_error_before_anything_runs(tmp_path, monkeypatch):
    with pytest.raises(MachineError, match="toy/1 needs 4 GPUs, but there are 3"):
        made_with(tmp_path, monkeypatch, (1, 4), ("0", "1", "2"), 2)
    assert Hand.started == []


def test_a_capture_needs_as_many_gpus_as_the_recipe_says(tiny):
    recipe = load_recipe(
        "recipe.yaml", ("runtime.device=auto", "sources.qwen.capture={device_map: auto, gpus: 2}")
    )
    jobs = open_run(recipe).jobs
    needs = {name: jobs[name].resources.gpus for name in jobs}
    assert needs["represent/qwen"] == needs["evaluate/test/sources/qwen"] == 2
    assert needs["represent/pivot"] == needs["distill/sft"] == 1 and needs["fuse/qwen"] == 0
    more = load_recipe(
        "recipe.yaml", ("runtime.device=auto", "sources.qwen.capture={device_map: auto, gpus: 4}")
    )
    assert open_run(more).jobs["represent/qwen"].fingerprint == jobs["represent/qwen"].fingerprint


def test_workers_share_a_capture_and_its_bits_are_those_of_one(tiny, monkeypatch, forked):
    """Three captures and four workers: one has to help."""
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 60)
    monkeypatch.setattr(
        "fusionchat.run.engine.local.cuda_count", lambda: 4
    )  # torch finds none: they compute on the CPU
    helped, given = [], []
    help, start = Worker.help, Worker.__init__

    def helping(self, job):
        helped.append(job.id)
        help(self, job)

    def starting(self, planned, threads, events, gpus=None):
        given.append(gpus)
        start(self, planned, threads, events, gpus)

    monkeypatch.setattr(Worker, "help", helping)
    monkeypatch.setattr(Worker, "__init__", starting)
    settings = ("runtime.device=auto", "represent.dtype=float32", "evaluate.dtype=float32")
    one = run(load_recipe("recipe.yaml", (*settings, "name=one")), until="represent")
    many = run(load_recipe("recipe.yaml", (*settings, "name=many", "runtime.workers=4")), until="represent")
    assert given[-4:] == [("0",), ("1",), ("2",), ("3",)]
    assert set(helped) <= {"represent/pivot", "represent/mixtral", "represent/qwen"} and helped
    for name in ("represent/pivot", "represent/mixtral", "represent/qwen"):
        assert files_of(one.folder / name) == files_of(many.folder / name)
        assert len([file for file in files_of(one.folder / name) if "shard" in file]) > 2
    assert not list(many.folder.rglob("*.outcome"))
