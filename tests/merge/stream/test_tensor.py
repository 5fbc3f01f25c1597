"""What cannot be merged or stored is refused by name."""

import numpy as np
import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.plan import TensorJob
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream.work import work_on
from tests.merge.methods.arrays import Held, combine

PIVOT = np.array([[1, 2], [3, 4]], np.float32)
ONE = PIVOT + np.array([[1, 0], [0, -1]], np.float32)


def test_which_input_is_not_finite_is_said():
    wrong = ONE.copy()
    wrong[1, 0] = np.inf
    task = work_on(TensorJob("w", (2, 2), (Held(PIVOT), Held(wrong, "the target"))), Linear(), "float32")
    with pytest.raises(
        MergeError, match=r"Tensor w has a value that is not finite \(inf\) at element 2"
    ) as caught:
        combine(task)
    assert caught.value.where == "the target"


def test_values_that_a_type_cannot_hold_are_refused():
    task = work_on(TensorJob("w", (2, 2), (Held(PIVOT), Held(PIVOT * 1e5))), Linear(), "float16")
    with pytest.raises(MergeError, match="too large to be merged or stored as float16"):
        combine(task)
