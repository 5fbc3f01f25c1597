"""TopK: slices and joins."""

import numpy as np
import pytest

from fusionchat.represent.topk import EMPTY_LOGPROB, concatenate, widen
from tests.build import make_topk


def test_slices_join_to_the_whole():
    whole = make_topk(0, [3, 0, 4, 1])
    joined = concatenate([whole.slice(0, 2), whole.slice(2, 4)])
    assert joined.offsets.tolist() == whole.offsets.tolist()
    for name in ("ids", "logprobs", "tail", "labels", "label_logprob", "turn", "begin", "end", "present"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_joining_widens_with_empty_slots():
    joined = concatenate([make_topk(0, [2], k=2), make_topk(1, [1], k=4)])
    assert joined.k == 4
    assert (joined.logprobs[:2, 2:] == EMPTY_LOGPROB).all() and np.isfinite(joined.logprobs[2]).all()


def test_widen_cannot_cut():
    with pytest.raises(AssertionError):
        widen(make_topk(0, [1], k=3), 2)


def test_shapes_are_checked():
    topk = make_topk(0, [2])
    with pytest.raises(AssertionError, match="tail"):
        type(topk)(**(vars(topk) | {"tail": topk.tail[:1]}))
