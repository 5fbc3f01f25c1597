"""Passthrough takes values as they are."""

import numpy as np
import pytest

from fusionchat.merge.methods.base import Gram
from fusionchat.merge.methods.passthrough import LayerRange, Passthrough
from tests.merge.methods.arrays import fuse, tensors


@pytest.mark.parametrize("scale", [1.0, -0.5])
def test_the_one_input_is_scaled(scale):
    pivot, _ = tensors(shape=(40, 60))
    result, _ = fuse(Passthrough(scale=scale), pivot, [])
    np.testing.assert_array_equal(result, np.float32(scale) * pivot)


def test_targets_have_no_part_in_what_is_not_theirs():
    mixture = Passthrough(scale=2.0).mixture(Gram(np.ones((3, 3)), 1))
    assert mixture.weight_J.tolist() == [0, 0] and mixture.base == 2


@pytest.mark.parametrize("layers", [(2, 2), (3, 2), (-1, 2)])
def test_a_range_without_layers_is_refused(layers):
    with pytest.raises(ValueError, match="first layer and a later end"):
        LayerRange("pivot", layers)


@pytest.mark.parametrize(("settings", "words"), [({"slices": ()}, "empty"), ({"scale": np.inf}, "finite")])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Passthrough(**settings)
