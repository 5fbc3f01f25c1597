"""The cut: every conversation once and in order, at most so many rows, one conversation at least."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.represent.store.cut import FEWEST, MOST, USUAL, cut, shard_rows


def offsets(rows):
    return np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 120))
def test_ranges_tile_the_conversations_and_are_as_long_as_they_can_be(rows, most):
    ranges, ends = cut(offsets(rows), most), offsets(rows)
    assert [c for members in ranges for c in members] == list(range(len(rows)))
    for members in ranges:
        size = ends[members.stop] - ends[members.start]
        assert len(members) == 1 or size <= most
        if members.stop < len(rows) and size <= most:
            assert ends[members.stop + 1] - ends[members.start] > most


def test_a_cut_by_hand():
    assert cut(offsets([3, 0, 4, 9, 1, 1]), 7) == [range(3), range(3, 4), range(4, 6)]
    assert cut(offsets([]), 7) == []


@pytest.mark.parametrize(
    ("parameters", "rows"),
    [(135_000_000, 2**16), (494_000_000, 2**15), (7_000_000_000, FEWEST), (47 * 10**9, FEWEST), (1, MOST),
     (None, USUAL), (0, USUAL)],
)  # fmt: skip
def test_the_larger_the_model_the_fewer_rows(parameters, rows):
    assert shard_rows(parameters) == rows
