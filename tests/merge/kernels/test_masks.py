"""Random numbers against chance, ranks against a comparison, and what is dropped by either."""

import numpy as np
import pytest
from hypothesis import given, settings

from fusionchat.merge.kernels import masks
from tests.merge.kernels.values import values
from tests.reference import merge as reference


@settings(max_examples=100, deadline=None)
@given(values.filter(lambda v: v.size > 1))
def test_row_ranks_are_those_of_a_comparison(value):
    ranks = np.empty(value.size, np.float32)
    masks.row_ranks(value, np.empty(value.size, np.uint16), np.empty(masks.BINS, np.float32), ranks)
    np.testing.assert_array_equal(ranks, reference.row_ranks(value[None])[0])
    assert ranks.sum() == pytest.approx(value.size * (value.size - 1) / 2)


def test_random_numbers_do_not_depend_on_blocks_and_look_random():
    key = np.uint64(masks.stream_key(0, 1, "w"))
    whole = np.empty(200_000, np.uint32)
    masks.uniform_bits(whole, key, 2**33 + 65_000)
    part = np.empty(70_000, np.uint32)
    masks.uniform_bits(part, key, 2**33 + 65_000 + 1234)
    np.testing.assert_array_equal(whole[1234 : 1234 + part.size], part)
    unit = whole / 2.0**32
    assert unit.mean() == pytest.approx(0.5, abs=0.003)
    counts = np.bincount((unit * 256).astype(int), minlength=256)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 340  # chi-square, 255 degrees: 1 in 3,000
    for lag in (1, 2, 16, 65_536):
        assert abs(np.corrcoef(unit[:-lag], unit[lag:])[0, 1]) < 0.012
    for bit in range(32):
        assert ((whole >> bit) & 1).mean() == pytest.approx(0.5, abs=0.006)
    other = np.empty_like(whole)
    masks.uniform_bits(other, np.uint64(masks.stream_key(0, 2, "w")), 2**33 + 65_000)
    assert abs(np.corrcoef(unit, other / 2.0**32)[0, 1]) < 0.012


def test_a_stream_is_named_by_seed_target_and_tensor():
    """BLAKE2b of "0/1/w", as b2sum -l 64 gives it, read as a little-endian number."""
    keys = {masks.stream_key(*one) for one in [(0, 1, "w"), (1, 1, "w"), (0, 2, "w"), (0, 1, "v")]}
    assert len(keys) == 4 and all(0 <= key < 2**64 for key in keys)
    assert masks.stream_key(0, 1, "w").to_bytes(8, "little").hex() == "d8827e83dc9b3df7"


@pytest.mark.parametrize(("limit", "stays"), [(0, []), (3, [0]), (6, [0, 1]), (2**32, [0, 1, 2])])
def test_what_is_not_below_the_limit_is_dropped(limit, stays):
    value, random = np.array([1, 2, 3], np.float32), np.array([0, 5, 2**32 - 1], np.uint32)
    assert masks.drop(value, random, limit) == len(stays)
    assert np.flatnonzero(value).tolist() == stays


def test_dropping_by_chance_is_dropping_by_the_numbers_of_the_stream():
    key, limit = np.uint64(masks.stream_key(3, 0, "w")), np.int64(2**30)
    random = np.empty(3000, np.uint32)
    masks.uniform_bits(random, key, 70_000)
    value = np.ones(3000, np.float32)
    assert masks.drop_by_chance(value, key, 70_000, limit) == (random < 2**30).sum()
    np.testing.assert_array_equal(value == 1, random < 2**30)


def test_the_chance_rises_with_the_rank():
    """Rows of 3 at 0.5 +- 0.25: chances 0.25, 0.5, 0.75 by magnitude. Random numbers just below and at the middle one."""
    value = np.array([3, -1, 2, 1, 3, -2], np.float32)
    random = np.array([2**31 - 1, 2**30, 2**31 - 256, 0, 2**32 - 1, 2**31], np.uint32)
    assert masks.drop_by_rank(value, random, 3, 0.5, 0.25) == 3
    assert value.tolist() == [0.75, 0, 0.5, 0.25, 0, 0]


def test_a_row_of_one_has_the_mean_chance():
    value = np.array([3, -1], np.float32)
    assert masks.drop_by_rank(value, np.array([0, 2**32 - 1], np.uint32), 1, 0.5, 0.25) == 1
    assert value.tolist() == [0.5, 0]


def test_ranks_by_hand():
    """0.5 is the smallest, the two ones share ranks 1 and 2; 1.001 is the same in 7 bits."""
    value, ranks = np.array([1, 0.5, -1.001, 8], np.float32), np.empty(4, np.float32)
    masks.row_ranks(value, np.empty(4, np.uint16), np.empty(masks.BINS, np.float32), ranks)
    assert ranks.tolist() == [1.5, 0, 1.5, 3]
