"""DELLA: what is kept, and by which chance."""

import numpy as np
import pytest

from fusionchat.merge.methods.della import Della
from tests.merge.methods.arrays import fuse, tensors
from tests.reference import merge as reference


@pytest.mark.parametrize("shape", [(200, 300), (1, 4000), (5000,), (4000, 1), (3, 4, 700)])
def test_della_keeps_by_rank_and_divides_by_the_chance(shape):
    pivot, targets = tensors(shape=shape, targets=1)
    result, task = fuse(Della(density=0.6, epsilon=0.3, normalize=False), pivot, targets)
    delta, moved = (targets[0] - pivot).reshape(-1, shape[-1]), (result - pivot).reshape(-1, shape[-1])
    assert task.report().kept[0] == pytest.approx(0.6, abs=0.04)
    chance = (
        0.3 + 0.6 * reference.row_ranks(delta) / max(shape[-1] - 1, 1)
        if shape[-1] > 1
        else np.full(delta.shape, 0.6)
    )
    kept = np.abs(moved) > 1e-7
    np.testing.assert_allclose(moved[kept], (delta / chance)[kept], rtol=1e-3, atol=1e-8)
    if shape[-1] > 1:
        high = chance > 0.75
        assert kept[high].mean() == pytest.approx(chance[high].mean(), abs=0.04)


def test_dellas_density_of_1_keeps_all():
    pivot, targets = tensors(shape=(40, 60), targets=2)
    result, task = fuse(Della(density=1.0, elect_sign=False), pivot, targets)
    np.testing.assert_allclose(result, targets.mean(0), rtol=1e-6, atol=1e-9)
    assert task.report().kept == [1, 1]


@pytest.mark.parametrize(
    ("density", "epsilon"), [(0.5, 0.5), (0.9, 0.1), ((0.5, 0.1), 0.1), (0.5, (0.1, 0.5)), (0.5, -0.1)]
)
def test_chances_of_della_are_between_0_and_1(density, epsilon):
    with pytest.raises(ValueError, match="between"):
        Della(density=density, epsilon=epsilon)
