"""DARE: what is kept, by which chance, and on what masks depend."""

import numpy as np
import pytest

from fusionchat.merge.methods.dare import DareLinear, DareTies
from fusionchat.merge.methods.della import Della
from tests.merge.methods.arrays import backwards, fuse, tensors
from tests.reference import merge as reference


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_dare_keeps_its_share_and_the_expectation(density):
    pivot, targets = tensors(shape=(400, 500))
    result, task = fuse(DareLinear(density=density), pivot, targets)
    np.testing.assert_allclose(task.report().kept, density, atol=5e-3)
    if density == 0:
        np.testing.assert_array_equal(result, pivot)
    else:
        moved, expected = (result - pivot).astype(np.float64), (targets - pivot).sum(0).astype(np.float64)
        slope = (moved * expected).sum() / (expected**2).sum()
        assert slope == pytest.approx(1, abs=0.02)


def test_dare_ties_is_the_vote_over_dares_masks():
    pivot, targets = tensors()
    delta = reference.changes(pivot, targets)
    alone = [fuse(DareLinear(density=0.4, weight=tuple(np.eye(3)[j])), pivot, targets)[0] for j in range(3)]
    pruned = np.stack(
        [np.where(np.abs(a - pivot) > 1e-7, d / 0.4, 0) for a, d in zip(alone, delta, strict=True)]
    )
    result, _ = fuse(DareTies(density=0.4, weight=(1.0, 0.3, 0.5)), pivot, targets)
    expected = reference.add(pivot, pruned, (1.0, 0.3, 0.5), elect=True)
    assert (np.abs(result - expected) > 1e-6).mean() < 1e-3  # changes below 1e-7 are taken for dropped


def test_masks_depend_on_seed_target_and_tensor_only():
    pivot, targets = tensors(targets=2)
    same = np.stack([targets[0], targets[0]])
    for kind in (DareLinear, Della):
        whole, _ = fuse(kind(seed=1), pivot, targets)
        again, _ = fuse(kind(seed=1), pivot, targets, chunk_map=backwards)
        other, _ = fuse(kind(seed=2), pivot, targets)
        named, _ = fuse(kind(seed=1), pivot, targets, name="v")
        np.testing.assert_array_equal(whole, again)
        assert (whole != other).mean() > 0.3
        assert (whole != named).mean() > 0.3
        left, _ = fuse(kind(weight=(1.0, 0.0)), pivot, same)
        right, _ = fuse(kind(weight=(0.0, 1.0)), pivot, same)
        assert (left != right).mean() > 0.2


@pytest.mark.parametrize("rescale", [True, False])
def test_a_change_is_dropped_or_divided_by_its_chance(rescale):
    pivot = np.zeros((60, 70), np.float32)
    _, targets = tensors(shape=(60, 70), targets=1)
    targets = targets - targets.mean(dtype=np.float32)
    result, _ = fuse(DareLinear(density=0.25, rescale=rescale), pivot, targets)
    kept = result != 0
    assert kept.mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_allclose(result[kept], targets[0][kept] * (4 if rescale else 1), rtol=1e-6)


def test_weights_are_divided_by_their_sum_if_asked():
    pivot = np.zeros(3, np.float32)
    changes = np.array([[1, 2, -4], [3, -2, 0]], np.float32)
    result, _ = fuse(DareLinear(density=1.0, weight=(1.0, 3.0), normalize=True), pivot, changes)
    assert result.tolist() == [2.5, -1, -1]
    result, _ = fuse(DareTies(density=1.0, weight=(1.0, 3.0), normalize=True), pivot, changes)
    assert result.tolist() == [2.5, -2, -4]


@pytest.mark.parametrize("kind", [DareLinear, DareTies])
@pytest.mark.parametrize("density", [-0.1, 1.1, (0.5, 2.0)])
def test_chances_of_dare_are_between_0_and_1(kind, density):
    with pytest.raises(ValueError, match="`density` must be between 0 and 1"):
        kind(density=density)
