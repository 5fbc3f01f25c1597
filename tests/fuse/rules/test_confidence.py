"""Confidence on entropies written by hand."""

import numpy as np

from fusionchat.fuse.rules.base import Units
from fusionchat.fuse.rules.confidence import Confidence

NAN = np.nan


def test_the_least_entropy_takes_the_row_whatever_the_label():
    ce = np.array([[0.0, 0.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0], [5.0, 5.0, 5.0, 5.0]])
    entropy = np.array([[2.0, 1.0, 1.5, NAN], [1.0, 1.0, NAN, NAN], [1.5, 1.5, 1.0, NAN]])
    units = Units(ce, ("pivot", "a", "b"), ("",) * 4, entropy)
    weights = Confidence().weigh(units)
    assert weights.dtype == np.float32
    assert weights.tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]]


def test_it_asks_for_entropies_and_has_no_unit_of_ce():
    assert Confidence.asks_entropy and Confidence().per == "token" and not Confidence.mixes
    assert "unit" not in Confidence.__dataclass_fields__
