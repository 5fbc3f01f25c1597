"""TopK and Scored: slices are views, shapes are checked."""

import numpy as np
import pytest

from fusionchat.represent.topk import EMPTY_LOGPROB, widen
from tests.build import make_scored, make_topk


def test_a_slice_has_the_rows_of_its_conversations():
    whole = make_scored(0, [3, 0, 4, 1])
    part = whole.slice(1, 3)
    assert part.tokens.offsets.tolist() == [0, 0, 4] and part.topk.rows == 4
    assert np.shares_memory(part.topk.ids, whole.topk.ids)
    for name in ("ids", "logprobs", "tail", "present"):
        np.testing.assert_array_equal(getattr(part.topk, name), getattr(whole.topk, name)[3:7])
    np.testing.assert_array_equal(part.label_logprob, whole.label_logprob[3:7])


def test_widening_adds_empty_slots():
    wide = widen(make_topk(0, [2], k=2), 4)
    assert wide.k == 4
    assert (wide.logprobs[:, 2:] == EMPTY_LOGPROB).all() and np.isfinite(wide.logprobs[:, :2]).all()


def test_widen_cannot_cut():
    with pytest.raises(AssertionError):
        widen(make_topk(0, [1], k=3), 2)


def test_shapes_are_checked():
    topk = make_topk(0, [2])
    with pytest.raises(AssertionError, match="tail"):
        type(topk)(**(vars(topk) | {"tail": topk.tail[:1]}))
