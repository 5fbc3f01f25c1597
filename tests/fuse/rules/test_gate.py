"""The gate on scores written by hand."""

import numpy as np
import pytest

from fusionchat.fuse.rules.gate import Gate
from fusionchat.fuse.rules.min_ce import MinCE

NAN = np.nan
CE = np.array([
    [3.0, 3.0, 3.0, 2.0, NAN, NAN, 3.0],
    [2.0, 2.5, 2.75, 2.0, NAN, 9.0, NAN],
    [2.5, 2.0, NAN, 1.0, NAN, NAN, 2.25],
])  # fmt: skip


def test_the_best_source_is_let_through_where_it_is_better_by_more_than_the_margin():
    """The pivot's lead over the best source is 1, 1, 1/4, 1, -, infinite, 3/4."""
    taken = Gate(margin=0.75, weight=0.25).weights(CE)
    assert taken.dtype == np.float32
    assert taken.tolist() == [
        [0.75, 0.75, 1, 0.75, 1, 0.75, 1],
        [0.25, 0, 0, 0, 0, 0.25, 0],
        [0, 0.25, 0, 0.25, 0, 0, 0],
    ]  # fmt: skip


def test_without_margin_and_pivot_it_is_min_ce():
    scores = np.random.default_rng(0).integers(0, 4, (3, 50)).astype(float)
    np.testing.assert_array_equal(Gate().weights(scores), MinCE().weights(scores))
    np.testing.assert_array_equal(Gate().weights(CE), MinCE().weights(CE))
    assert Gate().per == "token" and MinCE().per == "conversation"


def test_the_pivot_alone():
    assert Gate().weights(CE[:1]).tolist() == [[1] * 7]


@pytest.mark.parametrize("wrong", [{"margin": -1.0}, {"margin": NAN}, {"weight": 0.0}, {"weight": 1.5}])
def test_mistakes(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Gate(**wrong)
