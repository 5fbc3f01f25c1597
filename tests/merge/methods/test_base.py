"""What methods are made of: inner products, mixtures."""

import numpy as np
import pytest

from fusionchat.merge.methods.base import BlockMethod, Gram, Method, Mixture, MixtureMethod
from fusionchat.merge.methods.steps import TensorInfo


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


def test_what_a_method_does_not_say_is_decided():
    mixture = MixtureMethod("one")
    assert mixture.scope == "matrix" and mixture.steps(TensorInfo("w", (2,), 1, 1)) is None
    assert mixture.auxiliary() == () and not mixture.by_rows


def test_what_every_method_must_say():
    info, gram = TensorInfo("w", (2,), 1, 1), Gram(np.zeros((2, 2)), 2)
    asked = [
        lambda: Method("one").steps(info), lambda: BlockMethod("one").steps(info), lambda: MixtureMethod("one").mixture(gram),
    ]  # fmt: skip
    for ask in asked:
        with pytest.raises(NotImplementedError):
            ask()
