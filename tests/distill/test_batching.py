"""The plan of a training: every conversation once an epoch, whatever the passes and ranks; micro-batches by tokens."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.distill.batching import MicroBatch, cut, deal, pass_positions, plan_steps, real_share, split


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    epochs=st.sampled_from([0.5, 1, 2, 2.5]),
    batch_size=st.integers(1, 12),
    micro_tokens=st.integers(1, 40),
    ranks=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_every_conversation_is_seen_once_an_epoch(count, epochs, batch_size, micro_tokens, ranks, seed):
    rows = np.random.default_rng(seed).integers(1, 9, count).tolist()
    lengths = [row + 2 for row in rows]
    plan = plan_steps(
        rows,
        lengths,
        epochs=epochs,
        batch_size=batch_size,
        micro_tokens=micro_tokens,
        ranks=ranks,
        seed=seed,
    )
    assert len(plan) % ranks == 0
    micros = [micro for part in plan for micro in part]
    seen = [i for micro in micros if micro.counts for i in micro.members]
    assert len(seen) == max(1, round(epochs * count))
    assert max(np.bincount(seen, minlength=count)) <= np.ceil(epochs)
    assert min(np.bincount(seen, minlength=count)) >= int(epochs)
    for micro in micros:
        padded = len(micro.members) * max(lengths[i] for i in micro.members)
        assert padded <= micro_tokens or len(micro.members) == 1
    for start in range(0, len(plan), ranks):
        step = plan[start : start + ranks]
        assert len({len(part) for part in step}) == 1
        total = sum(rows[i] for part in step for micro in part if micro.counts for i in micro.members)
        assert {micro.step_rows for part in step for micro in part} == {total}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_steps_depend_neither_on_micro_batches_nor_on_ranks(ranks):
    def steps(micro_tokens, ranks):
        plan = plan_steps(
            [1] * 23,
            list(range(1, 24)),
            epochs=2,
            batch_size=8,
            micro_tokens=micro_tokens,
            ranks=ranks,
            seed=3,
        )
        return [
            sorted(i for part in plan[s : s + ranks] for m in part if m.counts for i in m.members)
            for s in range(0, len(plan), ranks)
        ]

    assert steps(1, ranks) == steps(50, 1) == steps(1000, ranks)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8), micro_tokens=st.integers(1, 90))
def test_no_cut_costs_less(lengths, micro_tokens):
    lengths = sorted(lengths, reverse=True)
    n = len(lengths)

    def cost(ends):
        found = 0.0
        for a, b in itertools.pairwise([0, *ends, n]):
            padded = (b - a) * lengths[a]
            if padded > micro_tokens and b - a > 1:
                return np.inf
            found += padded + 5.5
        return found

    least = min(cost(ends) for count in range(n) for ends in itertools.combinations(range(1, n), count))
    made = cut(range(n), lengths, micro_tokens, 5.5)
    assert [i for part in made for i in part] == list(range(n))
    assert cost(list(itertools.accumulate(map(len, made)))[:-1]) == least


def test_a_pass_costs_more_positions_the_smaller_the_model():
    assert pass_positions(10**9, gpu=False) == pytest.approx(24.25)
    assert pass_positions(500_000, gpu=False) == pytest.approx(524)
    assert pass_positions(10**9, gpu=False, amx=True) == pytest.approx(150.25)
    assert pass_positions(10**9, gpu=True) == pytest.approx(1024)


def test_ranks_get_about_as_many_tokens():
    assert deal([0, 1, 2, 3], [9, 5, 4, 1], 2) == [[0, 3], [1, 2]]
    lengths = sorted(np.random.default_rng(0).integers(50, 900, 128).tolist(), reverse=True)
    loads = [sum(lengths[i] for i in part) for part in deal(range(128), lengths, 8)]
    assert max(loads) < 1.05 * np.mean(loads)


def test_the_largest_micro_batches_are_halved_for_more_passes():
    parts = [[0], [1, 2, 3, 4, 5]]
    split(parts, 4)
    assert parts == [[0], [1, 2], [3], [4, 5]]
    split(parts, 9)
    assert parts == [[0], [1], [2], [3], [4], [5]]
    empty = []
    split(empty, 2)
    assert empty == []


def test_the_share_of_positions_that_are_no_padding():
    plan = [[MicroBatch([0, 1], 1, True)], [MicroBatch([1], 1, False)]]
    assert real_share(plan, [4, 3]) == 7 / (8 + 3)
