"""What cannot be merged or stored is refused by name."""

import numpy as np
import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.plan import TensorJob
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.varm import Varm
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
    with pytest.raises(MergeError, match="too large to be stored as float16") as caught:
        combine(task)
    assert caught.value.do == "store the fused model as bfloat16 or float32"


def test_a_result_beyond_every_type_is_the_methods_doing():
    task = work_on(TensorJob("w", (2, 2), (Held(PIVOT), Held(ONE))), TaskArithmetic(scale=1e39), "bfloat16")
    with pytest.raises(MergeError, match="The merged values of tensor w are too large") as caught:
        combine(task)
    assert caught.value.do == "lower the method's weights or its scale"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_input_whose_square_is_beyond_float32_is_named(dtype):
    large = ONE.copy()
    large[0, 1] = -1e25
    sources = (Held(PIVOT), Held(ONE), Held(large, "the second target"))
    with pytest.raises(MergeError, match=r"a value -1e\+25 at element 1, which is too large") as caught:
        combine(work_on(TensorJob("w", (2, 2), sources), Varm(), dtype))
    assert caught.value.where == "the second target"
