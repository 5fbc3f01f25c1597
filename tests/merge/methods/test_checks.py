"""Checks of methods' settings."""

import numpy as np
import pytest

from fusionchat.merge.methods.checks import check_range, check_targets, check_weights, per_target, weights_for
from fusionchat.merge.methods.fisher import Fisher
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.model_stock import ModelStock
from fusionchat.merge.methods.spherical import Nuslerp, Slerp
from fusionchat.merge.methods.ties import Ties


def test_one_weight_per_target():
    assert weights_for(None, 3).tolist() == [1, 1, 1]
    assert weights_for((1.0, 3.0), 2).tolist() == [1, 3]
    with pytest.raises(ValueError, match="`weight` has 1 value for 2 targets"):
        weights_for((1.0,), 2)


@pytest.mark.parametrize(
    ("method", "targets", "words"),
    [
        (Nuslerp(), 3, "nuslerp needs 2 targets, not 3"),
        (ModelStock(), 1, "model_stock needs 2 or more targets, not 1"),
        (Slerp(), 3, "slerp needs 1 to 2 targets, not 3"),
        (Linear(), 0, "linear needs 1 or more targets, not 0"),
        (Linear(weight=(1.0, 2.0)), 3, "linear has 2 values of `weight` for 3 targets"),
        (Ties(density=(0.5,)), 2, "ties has 1 value of `density` for 2 targets"),
        (Fisher(), 2, "fisher needs 2 folders, one per target, not 0"),
        (Fisher(fisher=("a",)), 2, "fisher needs 2 folders, one per target, not 1"),
    ],
)
def test_methods_and_targets_that_do_not_fit(method, targets, words):
    with pytest.raises(ValueError, match=words):
        check_targets(method, targets)


@pytest.mark.parametrize(
    ("method", "targets"),
    [(Nuslerp(), 2), (Linear(), 1), (Ties(density=(0.5, 0.2)), 2), (Fisher(fisher=("a", "b")), 2)],
)
def test_methods_and_targets_that_fit(method, targets):
    check_targets(method, targets)


@pytest.mark.parametrize("weight", [(), (np.nan, 1.0), (np.inf,)])
def test_weights_are_finite_numbers(weight):
    with pytest.raises(ValueError, match="finite"):
        check_weights(weight)


def test_weights_that_are_normalized_add_up_to_more_than_0():
    check_weights((1.0, -1.0))
    check_weights(None, positive_sum=True)
    check_weights((1.0, -0.5), positive_sum=True)
    with pytest.raises(ValueError, match="more than 0"):
        check_weights((1.0, -1.0), positive_sum=True)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_a_value_out_of_range_is_named(value):
    for inside in (0, 0.5, 1):
        check_range("density", inside, 0, 1)
    with pytest.raises(ValueError, match="`density` must be between 0 and 1, not"):
        check_range("density", value, 0, 1)


def test_one_value_per_target():
    assert per_target("density", 0.5, 3).tolist() == [0.5, 0.5, 0.5]
    assert per_target("density", (0.1, 0.2), 2).tolist() == [0.1, 0.2]
    with pytest.raises(ValueError, match="`density` has 2 values for 3 targets"):
        per_target("density", (0.1, 0.2), 3)
