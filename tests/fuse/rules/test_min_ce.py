"""MinCE on scores written by hand."""

import numpy as np

from fusionchat.fuse.rules.min_ce import MinCE

NAN = np.nan


def test_the_least_score_takes_all_and_ties_go_to_the_pivot():
    weights = MinCE().weights(np.array([[1.0, 2.0, NAN, NAN], [2.0, 2.0, 3.0, NAN]]))
    assert weights.dtype == np.float32 and weights.tolist() == [[1, 1, 0, 1], [0, 0, 1, 0]]


def test_of_two_equal_sources_the_first_is_taken():
    weights = MinCE().weights(np.array([[3.0], [1.0], [1.0]]))
    assert weights.tolist() == [[0], [1], [0]]


def test_scores_that_fp32_cannot_tell_apart_are_a_tie():
    assert MinCE().weights(np.array([[1.0 + 1e-9], [1.0]])).tolist() == [[1], [0]]
    assert MinCE().weights(np.array([[1.0 + 1e-6], [1.0]])).tolist() == [[0], [1]]
