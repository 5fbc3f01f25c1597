"""The Ray engine: what is done again, what stops the run, and what is begun when; Ray itself is a fake here."""

from contextlib import nullcontext

import pytest

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

from fusionchat.artifacts import read_manifest  # noqa: E402
from fusionchat.errors import FusionChatError, MachineError  # noqa: E402
from fusionchat.lease import HeldError, lease  # noqa: E402
from fusionchat.run.engine.ray import engine as module  # noqa: E402
from fusionchat.run.engine.ray import pool  # noqa: E402
from fusionchat.run.order import lease_path  # noqa: E402
from fusionchat.run.overview import keep_plan  # noqa: E402
from tests.run.engine.ray.fake import NODES, FakeRay  # noqa: E402
from tests.run.toy import Toy, Words, chain  # noqa: E402


class Stumbling(Toy):
    """Fails as often as ``fails`` says before it works."""

    def __init__(self, fails):
        super().__init__()
        self.fails = fails

    def work(self, settings, inputs, out, ctx):
        if self.fails.get(inputs.job.id, 0):
            self.fails[inputs.job.id] -= 1
            raise FusionChatError(f"{settings.text} is wrong", where="toy")
        return super().work(settings, inputs, out, ctx)


@pytest.fixture
def on_ray(monkeypatch):
    def start(toy, die=None, nodes=NODES):
        fake = FakeRay(toy, die)
        for one in (module, pool):
            monkeypatch.setattr(one, "ray", fake)
        monkeypatch.setattr(module, "packed", lambda stages: b"")
        monkeypatch.setattr(module, "joined", lambda settings: nullcontext())
        monkeypatch.setattr(module, "probe", lambda run, nodes: None)
        monkeypatch.setattr(module, "nodes_now", lambda: list(nodes))
        monkeypatch.setattr(module, "TICK", 0.01)
        monkeypatch.setattr(module, "warn", said.append)
        return fake

    said = []
    start.said = said
    return start


def two_branches(folder, toy, **runtime):
    """toy/0, toy/1 and toy/2 in a chain, and toy/alone and represent/x beside it."""
    planned = chain(folder, toy)
    planned.recipe.runtime = planned.recipe.runtime.model_copy(update=runtime)
    planned.stages = {"toy": toy, "represent": toy}
    planned.add("toy", "alone", Words(text="z"))
    planned.add("represent", "x", Words(text="r"), parallel="shards")
    return planned


def run_all(planned, announce=None):
    module.run_jobs(planned, list(planned.jobs.values()), announce)


def test_all_jobs_are_made_each_after_those_that_it_needs(tmp_path, on_ray):
    toy, said = Toy(), []
    planned, fake = two_branches(tmp_path, toy), on_ray(toy)
    run_all(planned, lambda job, status: said.append((job.id, status.state)))
    assert (tmp_path / "toy/2/words.txt").read_text() == "abc"
    assert sorted(said) == sorted((job, "to do") for job in planned.jobs)
    assert all(planned.status(job).state == "done" for job in planned.jobs.values())
    assert {(one["num_cpus"], one.get("max_retries"), one.get("max_restarts")) for one in fake.options} == {
        (1, 0, None), (1, None, 0),
    }  # fmt: skip
    assert not list(tmp_path.rglob("*.lease"))
    manifest = read_manifest(tmp_path / "toy/1")
    assert manifest.made["attempt"] == 1 and manifest.made["node"]
    assert manifest.seconds == manifest.made["seconds"]  # without the time for which it waited


def test_a_job_whose_worker_dies_is_made_again(tmp_path, on_ray):
    toy = Toy()
    planned = two_branches(tmp_path, toy)
    on_ray(toy, {"toy/1": 2, "represent/x": 1})
    run_all(planned)
    assert (tmp_path / "toy/2/words.txt").read_text() == "abc" and (
        tmp_path / "represent/x/words.txt"
    ).is_file()
    why = "The worker died unexpectedly while executing this task"  # the first of Ray's sentences
    assert sorted(on_ray.said) == [
        f"The worker of {job} has died; the job continues elsewhere ({why})"
        for job in ("represent/x", "toy/1", "toy/1")
    ]


def test_a_job_that_kills_every_worker_stops_with_that_reason_and_the_others_are_made(tmp_path, on_ray):
    toy = Toy()
    planned = two_branches(tmp_path, toy)
    on_ray(toy, {"toy/1": 99})
    with pytest.raises(MachineError, match="worker of toy/1 has died 5 times"):
        run_all(planned)
    done = {name for name, job in planned.jobs.items() if planned.status(job).state == "done"}
    assert done == {"toy/0", "toy/alone", "represent/x"} and not list(tmp_path.rglob("*.lease"))


def test_a_job_that_fails_once_is_tried_again_and_the_second_time_stops_the_run(tmp_path, on_ray):
    toy = Stumbling({"toy/0": 1})
    planned = two_branches(tmp_path, toy)
    on_ray(toy)
    run_all(planned)
    assert on_ray.said == ["toy/0 failed; trying once more: a is wrong"]
    toy = Stumbling({"toy/1": 2})
    planned = two_branches(tmp_path / "other", toy)
    on_ray(toy)
    with pytest.raises(FusionChatError, match="b is wrong"):
        run_all(planned)
    done = {name for name, job in planned.jobs.items() if planned.status(job).state == "done"}
    assert done == {"toy/0", "toy/alone", "represent/x"}
    keep_plan(planned.folder, planned.jobs)
    table = module.RayEngine(planned, [], None)._table(80)
    assert table[0] == "3 of 5 jobs done, 1 failed" and len(table) == 3
    assert table[2].startswith("toy/1  failed ") and table[2].endswith(" b is wrong")


def test_a_job_that_no_node_has_room_for_is_named_with_what_it_needs(tmp_path, on_ray):
    toy = Toy()
    ray = {"patience": 0.0, "resources": {"toy/alone": {"disk": 2}}}
    planned = two_branches(tmp_path, toy)
    settings = planned.recipe.runtime.ray.model_validate(ray)
    planned.recipe.runtime = planned.recipe.runtime.model_copy(update={"ray": settings})
    on_ray(toy)
    with pytest.raises(
        MachineError, match=r"toy/alone needs 2 disk in one node, and the most .* is 0 disk"
    ) as error:
        run_all(planned)
    assert "Ray cluster of 2 nodes: a, b" in str(error.value) and toy.made == []


def test_a_job_that_another_process_works_on_is_left_and_the_others_are_made(tmp_path, on_ray):
    toy = Toy()
    planned = two_branches(tmp_path, toy)
    on_ray(toy)
    path = lease_path(tmp_path, "toy/1")
    path.parent.mkdir(parents=True)
    with lease(path), pytest.raises(HeldError, match="working on toy/1"):
        run_all(planned)
    assert sorted(toy.made) == ["represent/x", "toy/0", "toy/alone"] or "represent/x" in toy.made
