"""AvgCE on scores written by hand."""

import numpy as np
import pytest

from fusionchat.fuse.rules.mean_ce import MeanCE
from fusionchat.fuse.rules.min_ce import MinCE

NAN = np.nan


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_mixture_is_a_softmax(temperature):
    weights = MeanCE(temperature=temperature).weights(np.array([[1.0, 2.0, NAN, NAN], [2.0, 2.0, 3.0, NAN]]))
    first = 1 / (1 + np.exp(-1 / temperature))
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [[first, 0.5, 0, 1], [1 - first, 0.5, 1, 0]], rtol=1e-6)


def test_three_models_by_hand():
    """exp(-ln 2), exp(-ln 4), exp(-ln 4) are 1/2, 1/4, 1/4."""
    ce = np.log([[2.0], [4.0], [4.0]])
    np.testing.assert_allclose(MeanCE().weights(ce), [[0.5], [0.25], [0.25]], rtol=1e-6)


def test_large_scores_do_not_underflow():
    weights = MeanCE().weights(np.array([[5000.0], [5000.0 + np.log(3)]]))
    np.testing.assert_allclose(weights, [[0.75], [0.25]], rtol=1e-3)


def test_only_the_best_are_mixed():
    """Scores ln 2, ln 4, ln 4, ln 8: of two 2/3 and 1/3, the first of equals; of three 1/2, 1/4, 1/4."""
    ce = np.log([[4.0, NAN], [2.0, 4.0], [8.0, NAN], [4.0, 2.0]])
    np.testing.assert_allclose(
        MeanCE(most=2).weights(ce), [[1 / 3, 0], [2 / 3, 1 / 3], [0, 0], [0, 2 / 3]], rtol=1e-6
    )
    np.testing.assert_allclose(MeanCE(most=3).weights(ce)[:, 0], [0.25, 0.5, 0, 0.25], rtol=1e-6)
    np.testing.assert_allclose(MeanCE(most=9).weights(ce), MeanCE().weights(ce))
    np.testing.assert_array_equal(MeanCE(most=1).weights(ce), MinCE().weights(ce))
    with pytest.raises(ValueError, match="at least 1"):
        MeanCE(most=0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, NAN])
def test_a_temperature_of_nothing_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be greater than 0"):
        MeanCE(temperature=temperature)
