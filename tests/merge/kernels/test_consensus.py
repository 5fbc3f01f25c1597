"""Adding pruned changes, by hand and against whole arrays; longer than one span, so that spans meet."""

import numpy as np
import pytest

from fusionchat.merge.kernels import consensus
from fusionchat.merge.kernels.compiled import SPAN
from fusionchat.merge.kernels.consensus import All, Elected
from tests.reference import merge as reference

SIZE = 2 * SPAN + 5


def given(targets, seed=0):
    """Pivot and targets, what pruning left of the changes, and weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (targets + 1, SIZE)).astype(np.float32)
    kept = (x[1:] - x[0]) * (rng.random((targets, SIZE)) < 0.6)
    return x, kept.astype(np.float32), rng.uniform(0.2, 2, targets)


def left(x, kept):
    """The changes that were kept, as they are before they were rounded to float32."""
    return reference.changes(x[0], x[1:]) * (kept != 0)


@pytest.mark.parametrize("divisor", [1.0, 3.0])
@pytest.mark.parametrize("targets", [1, 2, 3])
def test_all_that_is_left_is_added(targets, divisor):
    x, kept, weight = given(targets)
    out = np.empty(SIZE)
    consensus.add_all(x, kept, All(weight, 0.7, divisor), out)
    expected = reference.add(x[0], left(x, kept), weight, scale=0.7 / divisor)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


@pytest.mark.parametrize("targets", [2, 3])
def test_changes_are_divided_by_their_chance(targets):
    x, kept, weight = given(targets)
    chance = np.where(kept != 0, np.float32(0.25), np.float32(0))
    out = np.empty(SIZE)
    consensus.add_all(x, chance, All(weight, by_chance=True), out)
    np.testing.assert_allclose(out, reference.add(x[0], 4 * left(x, kept), weight), rtol=1e-12)
    consensus.add_elected(x, chance, Elected(weight, weight, weight, by_chance=True), out)
    expected = reference.add(x[0], 4 * left(x, kept), weight, elect=True, normalize=True)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


@pytest.mark.parametrize("normalize", [False, True])
def test_only_the_elected_sign_counts(normalize):
    x, kept, weight = given(3)
    vote, out = np.array([1.0, 3.0, 1.0]), np.empty(SIZE)
    consensus.add_elected(x, kept, Elected(vote, weight, weight, 0.7, normalize), out)
    expected = reference.add(
        x[0], left(x, kept), weight, votes=vote, scale=0.7, elect=True, normalize=normalize
    )
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_a_vote_by_hand():
    """Changes 1, 2 and -4: with votes 1, 1, 1 the sum is -1, with 2, 2, 1 it is 2; a sum of 0 is positive."""
    x = np.array([[10], [11], [12], [6]], np.float32)
    kept, out, ones = x[1:] - x[0], np.empty(1), np.ones(3)
    for vote, expected in (([1, 1, 1], 6), ([2, 2, 1], 11.5), ([1, 1.5, 1], 11.5)):
        consensus.add_elected(x, kept, Elected(np.array(vote, float), ones, ones), out)
        assert out.tolist() == [expected]


def test_where_nobody_agrees_the_pivot_stays():
    x, out, ones = np.full((3, 2), 5, np.float32), np.empty(2), np.ones(2)
    consensus.add_elected(x, x[1:] - x[0], Elected(ones, ones, ones), out)
    assert out.tolist() == [5, 5]


def test_the_variance_over_targets():
    _, kept, _ = given(3)
    out = np.empty(SIZE, np.float32)
    consensus.variance(kept, out)
    np.testing.assert_allclose(out, kept.astype(np.float64).var(0), rtol=1e-5, atol=1e-12)
