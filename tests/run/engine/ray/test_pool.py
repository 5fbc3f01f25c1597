"""Hands: as many as wait for one of a shape, none that nobody needs."""

from queue import SimpleQueue

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from fusionchat.run.engine.ray import pool as module
from fusionchat.run.engine.ray.asks import Ask
from fusionchat.run.engine.ray.pool import Pool
from tests.run.engine.ray.fake import FakeRay
from tests.run.toy import Toy

ONE, TWO = Ask(1), Ask(2)


@pytest.fixture
def pool(monkeypatch):
    fake = FakeRay(Toy())
    monkeypatch.setattr(module, "ray", fake)
    made = Pool(SimpleQueue())
    made.fake = fake
    return made


def test_a_hand_is_started_for_each_job_that_has_none_starting(pool, monkeypatch):
    monkeypatch.setattr(Pool, "_await", lambda self, hand: None)
    pool.start([ONE, TWO])
    pool.start([ONE, ONE])
    assert [hand.ask for hand in pool.hands] == [ONE, TWO, ONE] == [hand.ask for hand in pool.starting]
    assert pool.fake.options[1]["num_cpus"] == 2 and pool.idle(ONE) is None


def test_idle_hands_are_found_by_shape_and_let_go(pool):
    pool.start([ONE, TWO])
    assert pool.idle(TWO) is None
    heard = [pool.events.get(timeout=5) for _ in range(2)]
    for hand in heard:
        pool.hear(hand)
    assert pool.idle(TWO) in heard and pool.idle(Ask(3)) is None and pool.starting == []
    pool.idle(ONE).busy = True
    pool.let_go()
    assert [hand.ask for hand in pool.hands] == [ONE] and len(pool.fake.ended) == 1
    pool.close()
    assert pool.hands == [] and len(pool.fake.ended) == 2


def test_a_hand_that_dies_before_it_is_ready_is_forgotten(pool, monkeypatch):
    from ray.exceptions import ActorDiedError

    def die(ref):
        raise ActorDiedError

    monkeypatch.setattr(pool.fake, "get", die)
    pool.start([ONE])
    pool.hear(pool.events.get(timeout=5))
    assert pool.hands == []
