"""A tensor of zeros."""

import numpy as np
import pytest

from fusionchat.merge.inputs.zeros import Zeros
from tests.merge.inputs.sources import read


def test_zeros_are_zeros():
    zeros = Zeros((2, 3), "the pivot")
    assert (read(zeros, 2) == 0).all() and zeros.is_float and zeros.origin == "the pivot"
    zeros.read_ahead(0)
    zeros.release()
    with pytest.raises(AssertionError):
        zeros.decode(4, np.empty(3, np.float32))
