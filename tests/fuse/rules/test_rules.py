"""Weights of the two rules on scores worked out by hand: who wins, ties, models without a score."""

import numpy as np
import pytest

from fusionchat.fuse.rules.mean_ce import MeanCE
from fusionchat.fuse.rules.min_ce import MinCE

NAN = np.nan
CE = np.array([[1.0, 2.0, NAN, NAN], [2.0, 2.0, 3.0, NAN]])


def test_the_least_score_takes_all_and_ties_go_to_the_pivot():
    weights = MinCE().weights(CE)
    assert weights.dtype == np.float32 and weights.tolist() == [[1, 1, 0, 1], [0, 0, 1, 0]]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_mixture_is_a_softmax(temperature):
    weights = MeanCE(temperature=temperature).weights(CE)
    first = 1 / (1 + np.exp(-1 / temperature))
    np.testing.assert_allclose(weights, [[first, 0.5, 0, 1], [1 - first, 0.5, 1, 0]], rtol=1e-6)


def test_a_temperature_of_nothing_is_refused():
    with pytest.raises(ValueError, match="greater than 0"):
        MeanCE(temperature=0.0)
