"""What is counted while a tensor is read."""

import numpy as np

from fusionchat.merge.stream.tally import Tally


def test_counts_of_chunks_add_up():
    total = Tally.blank(2)
    for _ in range(2):
        total.add(Tally(np.ones((3, 3)), np.array([1, 2]), np.array([1.0, 2.0, 0.0]), 5))
    assert total.gram_NN.tolist() == [[2] * 3] * 3 and total.kept_J.tolist() == [2, 4]
    assert total.sums.tolist() == [2, 4, 0] and total.conflicts == 10
