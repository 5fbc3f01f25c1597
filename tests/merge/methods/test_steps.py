"""What a step may know of a tensor, and what it need not say."""

import numpy as np
import pytest

from fusionchat.merge.methods.steps import Combine, Count, TensorInfo


@pytest.mark.parametrize(
    ("shape", "size", "row"), [((3, 4, 5), 60, 5), ((7,), 7, 7), ((), 1, 1), ((0, 4), 0, 4)]
)
def test_the_size_and_the_row_of_a_tensor(shape, size, row):
    info = TensorInfo("w", shape, 2, 1)
    assert (info.size, info.row) == (size, row)


def test_steps_have_no_counters_unless_they_say_so():
    count, last = Count(print, shape=(3,)), Combine(print)
    assert count.start(2).size == last.start(0).size == 0 and count.dtype == np.int32 and last.ties == ()
