"""SupervisedTokens: slices are views with offsets of their own; shapes are checked."""

from dataclasses import replace

import numpy as np
import pytest

from tests.build import make_scored


def test_a_slice_has_the_rows_of_its_conversations():
    whole = make_scored(0, [3, 0, 4, 1]).tokens
    part = whole.slice(1, 3)
    assert (part.rows, part.conversations, part.offsets.tolist()) == (4, 2, [0, 0, 4])
    for name in ("labels", "turn", "begin", "end"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[3:7])
    assert np.shares_memory(part.labels, whole.labels)


@pytest.mark.parametrize("name", ["labels", "turn", "begin", "end", "offsets"])
def test_the_same_tokens_are_the_same_in_every_array(name):
    one, other = make_scored(0, [2, 1]).tokens, make_scored(0, [2, 1]).tokens
    assert one.same_as(other)
    changed = getattr(other, name).copy()
    changed[1] += 1
    assert not one.same_as(replace(other, **{name: changed}))


def test_shapes_are_checked():
    tokens = make_scored(0, [2]).tokens
    with pytest.raises(AssertionError, match="turn"):
        replace(tokens, turn=tokens.turn[:1])
    with pytest.raises(AssertionError, match="offsets"):
        replace(tokens, offsets=np.array([0, 1]))
