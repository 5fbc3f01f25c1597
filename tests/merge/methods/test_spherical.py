"""Averages on the sphere against whole vectors."""

import numpy as np
import pytest

from fusionchat.merge.methods.base import Gram
from fusionchat.merge.methods.spherical import (
    Multislerp,
    Nuslerp,
    Slerp,
    lengths,
    model_products,
    norm,
    slerp_coefficients,
)
from tests.merge.methods.arrays import fuse, tensors
from tests.reference import merge as reference


def test_slerp():
    pivot, targets = tensors(targets=2, scale=0.02)
    for t in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(
            fuse(Slerp(t=t), pivot, targets)[0], reference.slerp(*targets, t), rtol=1e-5, atol=1e-7
        )
        one, _ = fuse(Slerp(t=t), pivot, targets[:1])
        np.testing.assert_allclose(one, reference.slerp(pivot, targets[0], t), rtol=1e-5, atol=1e-7)
    close, _ = fuse(Slerp(t=0.25), pivot, [pivot * np.float32(1.01)])
    np.testing.assert_allclose(close, pivot * 1.0025, rtol=1e-6)


def test_nuslerp_and_multislerp():
    pivot, targets = tensors(targets=2, scale=0.02)
    delta = reference.changes(pivot, targets)
    result, _ = fuse(Nuslerp(weight=(1.0, 3.0)), pivot, targets)
    np.testing.assert_allclose(result, pivot + reference.slerp(*delta, 0.75), rtol=1e-5, atol=1e-7)
    result, _ = fuse(Nuslerp(weight=(1.0, 3.0), origin="zero"), pivot, targets)
    np.testing.assert_allclose(result, reference.slerp(*targets, 0.75), rtol=1e-5, atol=1e-7)
    pivot, targets = tensors(targets=4, scale=0.01)
    weight = (0.4, 1.0, 0.2, 0.9)
    result, _ = fuse(Multislerp(weight=weight), pivot, targets)
    expected = pivot + reference.multislerp(reference.changes(pivot, targets), weight)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-7)
    opposite, _ = fuse(Multislerp(), pivot, [pivot + 1, pivot - 1])
    np.testing.assert_allclose(opposite, pivot, atol=1e-6)


def test_lengths_and_their_inverses():
    length, inverse = lengths(np.diag([4.0, 0.0, -1e-12]))
    assert length.tolist() == [2, 0, 0] and inverse.tolist() == [0.5, 0, 0]


def test_the_length_of_a_combination():
    """|3 a + 4 b| of unit vectors: 5 at a right angle, 7 along each other, 1 against each other."""
    for cosine, expected in ((0.0, 5), (1.0, 7), (-1.0, 1)):
        products = np.array([[1, cosine], [cosine, 1]])
        assert norm(np.array([3.0, 4.0]), products) == pytest.approx(expected)


def test_products_of_the_models_follow_from_those_of_the_changes():
    pivot, changes = np.array([1.0, 2.0]), np.array([[3.0, -1.0], [0.5, 0.0]])
    vectors, models = np.stack([pivot, *changes]), np.stack([pivot, *(pivot + changes)])
    np.testing.assert_allclose(model_products(Gram(vectors @ vectors.T, 2)), models @ models.T)


RIGHT = np.eye(2)


@pytest.mark.parametrize(
    ("products", "t", "expected"),
    [
        (RIGHT, 0.5, (0.5**0.5, 0.5**0.5)),
        (RIGHT, 1 / 3, (np.cos(np.pi / 6), 0.5)),
        (RIGHT, 0.0, (1, 0)),
        ([[1, 1], [1, 1]], 0.3, (0.7, 0.3)),  # the same way: linear
        ([[1, -1], [-1, 1]], 0.3, (0.7, 0.3)),  # the opposite way: linear
        ([[1, 0], [0, 0]], 0.3, (0.7, 0.3)),  # no direction
    ],
)
def test_coefficients_of_slerp_by_hand(products, t, expected):
    assert slerp_coefficients(np.array(products, float), t, 0.9995) == pytest.approx(expected, abs=1e-12)


def test_between_unequal_lengths_at_an_obtuse_angle_the_result_is_no_longer_than_the_longer():
    """Lengths 1 and 2 at 170 degrees: Shoemake's midpoint is 5.8 times (a + b), longer than 2."""
    angle = np.deg2rad(170)
    products = np.array([[1, 2 * np.cos(angle)], [2 * np.cos(angle), 4]])
    plain = np.sin(angle / 2) / np.sin(angle)
    assert norm(np.array([plain, plain]), products) > 2
    both = np.array(slerp_coefficients(products, 0.5, 0.9995))
    assert norm(both, products) == pytest.approx(2) and both[0] == pytest.approx(both[1])


def test_two_unit_changes_at_a_right_angle_by_hand():
    expected = [0.5**0.5] * 2
    np.testing.assert_allclose(Multislerp().average(RIGHT), expected)
    np.testing.assert_allclose(Nuslerp().average(RIGHT), expected)
    np.testing.assert_allclose(Multislerp(weight=(1.0, 0.0)).average(RIGHT), [1, 0], atol=1e-12)
    np.testing.assert_allclose(Nuslerp(weight=(1.0, 0.0)).average(RIGHT), [1, 0], atol=1e-12)
    np.testing.assert_allclose(Nuslerp(weight=(1.0, -1.0)).average(RIGHT), expected)


def test_where_the_centre_is_and_what_one_target_gives():
    gram = Gram(np.array([[4.0, 0], [0, 1]]), 2)
    assert Multislerp().mixture(gram)[:3] == (1.0, "changes", 1.0)
    assert Multislerp(origin="zero").mixture(gram)[:3] == (1.0, "models", 0.0)


@pytest.mark.parametrize("t", [-0.1, 1.1, np.nan])
def test_t_is_from_0_to_1(t):
    with pytest.raises(ValueError, match="`t` must be between 0 and 1"):
        Slerp(t=t)
