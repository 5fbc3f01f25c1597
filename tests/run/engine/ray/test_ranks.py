"""Ranks on a cluster: their world, and whose outcome counts."""

from threading import Event

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from fusionchat.run.engine.ray import ranks as module
from fusionchat.run.engine.ray.ranks import StoppedRanksError, first_outcome, world_of
from fusionchat.run.world import world_here


class Refs:
    """Ray's ``wait`` and ``get`` for refs that are outcomes, None for one that is never done."""

    def wait(self, refs, timeout):
        done = [ref for ref in refs if ref is not None][:1]
        return done, [ref for ref in refs if ref is not done[0]] if done else refs

    def get(self, ref):
        return ref


@pytest.fixture(autouse=True)
def refs(monkeypatch):
    monkeypatch.setattr(module, "ray", Refs())
    monkeypatch.setattr(module, "GRACE", 0.0)


def test_every_rank_has_a_gpu_of_its_own_and_a_share_of_the_threads():
    world = world_here(world_of(1, 4, "10.0.0.1", 1234))
    assert (world.rank, world.size, world.local_rank, world.local_size) == (1, 4, 0, 4)


def test_rank_0_has_the_summary():
    assert first_outcome([{"summary": 1}, {"summary": {}}], Event()) == {"summary": 1}


def test_the_first_error_counts_and_those_that_wait_for_it_are_not_waited_for():
    assert first_outcome([None, {"error": "a"}, None], Event()) == {"error": "a"}


def test_nobody_waits_for_ranks_that_were_stopped():
    stopped = Event()
    stopped.set()
    with pytest.raises(StoppedRanksError):
        first_outcome([{"summary": 1}, None], stopped)
