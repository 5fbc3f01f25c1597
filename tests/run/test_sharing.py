"""Shards of one job made by several: each once, and those of a worker that has died by another."""

import threading

import pytest

from fusionchat.lease import Lease
from fusionchat.run.sharing import make_shares, shard_lease


def test_several_make_each_shard_once(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionchat.run.sharing.POLL", 0.01)
    made, begun = [], threading.Barrier(2)

    def make(index):
        if not made and index in (0, 7):
            begun.wait(5)  # both are at work at the same time, each at its end
        made.append(index)

    def share(helps):
        make_shares(
            8,
            lambda i: i in made,
            make,
            lambda index: shard_lease(tmp_path, "toy/1", index),
            helps=helps,
        )

    helper = threading.Thread(target=share, args=(True,))
    helper.start()
    share(False)
    helper.join(5)
    assert sorted(made) == list(range(8)) and not list(tmp_path.rglob("*.lease"))


def test_a_helper_leaves_what_others_make_and_the_first_waits_for_it(tmp_path, monkeypatch):
    made, waits = [], []
    path = shard_lease(tmp_path, "toy/1", 2)
    path.parent.mkdir(parents=True)
    other = Lease(path)
    assert other.take() is None

    def share(helps):
        make_shares(
            4,
            lambda i: i in made,
            made.append,
            lambda index: shard_lease(tmp_path, "toy/1", index),
            helps=helps,
        )

    share(True)
    assert made == [3, 1, 0]
    monkeypatch.setattr("time.sleep", lambda seconds: (waits.append(seconds), other.release()))
    share(False)
    assert made == [3, 1, 0, 2] and len(waits) >= 1


def test_the_shard_of_a_slow_worker_is_made_by_the_one_that_waits_but_not_at_once(tmp_path, monkeypatch):
    made, clock = [], [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    path = shard_lease(tmp_path, "toy/1", 1)
    path.parent.mkdir(parents=True)
    slow = Lease(path)
    assert slow.take() is None

    def make(index):
        clock[0] += 20.0
        made.append((index, clock[0]))

    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + 1.0))
    make_shares(
        2,
        lambda i: i in dict(made),
        make,
        lambda index: shard_lease(tmp_path, "toy/1", index),
        helps=False,
    )
    (_, first), (index, second) = made
    assert first == 120.0 and index == 1
    assert 60.0 <= second - 20.0 - first <= 62.0  # it has waited for three times its own 20 seconds
    slow.release()


def test_an_error_lets_go_of_the_shard(tmp_path):
    def make(index):
        raise ValueError(str(index))

    with pytest.raises(ValueError, match="0"):
        make_shares(
            1, lambda _: False, make, lambda index: shard_lease(tmp_path, "toy/1", index), helps=False
        )
    assert not list(tmp_path.rglob("*.lease"))


def test_the_looks_at_shards_grow_with_their_number_and_not_with_its_square(tmp_path):
    made, looks = set(), []

    def is_made(index):
        looks.append(index)
        return index in made

    make_shares(50, is_made, made.add, lambda index: shard_lease(tmp_path, "toy/1", index), helps=False)
    assert made == set(range(50)) and len(looks) == 3 * 50  # to begin with, with its lease, and at the end


def test_a_shard_that_another_made_before_the_lease_was_taken_is_not_made_again(tmp_path):
    made, looks = [], {0: 0, 1: 0}

    def is_made(index):
        looks[index] += 1
        return index in made or (index == 1 and looks[1] > 1)  # another makes it after the first look

    make_shares(2, is_made, made.append, lambda index: shard_lease(tmp_path, "toy/1", index), helps=False)
    assert made == [0] and not list(tmp_path.rglob("*.lease"))
