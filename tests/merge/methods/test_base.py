"""What methods are made of: inner products, mixtures, and the checks of their settings."""

import numpy as np
import pytest

from fusionchat.merge.methods.base import (
    Block,
    BlockMethod,
    Gram,
    Method,
    Mixture,
    MixtureMethod,
    Program,
    TensorInfo,
    check_range,
    check_targets,
    check_weights,
    weights_for,
)
from fusionchat.merge.methods.fisher import Fisher
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.model_stock import ModelStock
from fusionchat.merge.methods.spherical import Nuslerp, Slerp
from fusionchat.merge.methods.ties import Ties


def test_the_squares_of_the_changes_are_the_diagonal_without_the_pivot():
    gram = Gram(np.array([[9.0, 1, 2], [1, 4, 3], [2, 3, 5]]), 6)
    assert gram.squares_J.tolist() == [4, 5] and gram.targets == 2


def test_shares_have_scale_and_divisor_applied():
    mixture = Mixture(np.array([1.0, 2.0]), scale=6.0, divisor=3.0)
    assert mixture.shares_J.tolist() == [2, 4]


def test_the_pivot_s_factor_in_pivot_plus_changes():
    """Of models: 0.5 p + (1 t1 + 2 t2) / 4 = (0.5 + 0.75) p + changes. Of changes the pivot's own factor."""
    weight = np.array([1.0, 2.0])
    assert Mixture(weight, "models", pivot=0.5, divisor=4.0).base == 1.25
    assert Mixture(weight, "changes", pivot=0.5, divisor=4.0).base == 0.5


@pytest.mark.parametrize(
    ("scale", "divisor", "factors"),
    [
        (3.0, 4.0, (0.75, 1.0)),
        (3.0, -0.5, (-6.0, 1.0)),
        (3.0, 3.0, (3.0, 3.0)),
        (2.0, 1.0, (2.0, 1.0)),
    ],
)
def test_a_divisor_that_is_a_power_of_two_is_put_into_the_scale(scale, divisor, factors):
    assert Mixture(np.ones(1), scale=scale, divisor=divisor).factors() == factors


@pytest.mark.parametrize(
    ("shape", "size", "row"), [((3, 4, 5), 60, 5), ((7,), 7, 7), ((), 1, 1), ((0, 4), 0, 4)]
)
def test_the_size_and_the_row_of_a_tensor(shape, size, row):
    info = TensorInfo("w", shape, 2, 1)
    assert (info.size, info.row) == (size, row)


def test_one_weight_per_target():
    assert weights_for(None, 3).tolist() == [1, 1, 1] and weights_for(None, 2, 0.5).tolist() == [0.5, 0.5]
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


def test_what_a_method_does_not_say_is_decided():
    info = TensorInfo("w", (2,), 1, 1)
    mixture = MixtureMethod("one")
    assert mixture.scope == "matrix" and mixture.program(info) is None and mixture.auxiliary() == ()
    program = Program()
    assert program.stages == 0 and program.ties() == [] and program.start(0).tolist() == []


def test_what_every_method_must_say():
    info, gram = TensorInfo("w", (2,), 1, 1), Gram(np.zeros((2, 2)), 2)
    program, none, out = Program(), np.zeros(0, np.int64), np.zeros(2)
    block = Block(*(np.zeros((n, 2), np.float32) for n in (2, 1, 0)), 0, 0)
    asked = [
        lambda: Method("one").program(info), lambda: BlockMethod("one").program(info),
        lambda: MixtureMethod("one").mixture(gram), lambda: program.blank(0), lambda: program.settle(0, none),
        lambda: program.observe(0, block, none), lambda: program.combine(block, none, none, out),
    ]  # fmt: skip
    for ask in asked:
        with pytest.raises(NotImplementedError):
            ask()
