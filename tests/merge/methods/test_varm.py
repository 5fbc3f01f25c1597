"""VaRM by hand, and against its formula on whole tensors."""

import numpy as np
import pytest

from fusionchat.merge.methods.base import Gram
from fusionchat.merge.methods.steps import Combine, TensorInfo
from fusionchat.merge.methods.varm import Varm
from tests.merge.methods.arrays import fuse, near, tensors
from tests.reference import merge as reference


def gram(*squares):
    """Changes with these sums of squares over 8 elements."""
    return Gram(np.diag([0.0, *squares]), 8)


@pytest.mark.parametrize(
    ("power", "squares", "weights"),
    [
        (1, (1, 3), (0.25, 0.75)),
        (2, (1, 3), (0.1, 0.9)),
        (0.5, (1, 9), (0.25, 0.75)),
        (0, (1, 3, 0), (0.5, 0.5, 0)),
        (1, (0, 0), (0, 0)),
        (1, (1e-40, 3e-40), (0.25, 0.75)),
    ],
)
def test_a_target_weighs_its_share_of_the_change(power, squares, weights):
    mixture = Varm(power=power).mixture(gram(*squares))
    np.testing.assert_allclose(mixture.weight_J, weights, rtol=1e-12)
    assert (mixture.of, mixture.pivot, mixture.scale, mixture.divisor) == ("changes", 1.0, 1.0, 1.0)


def test_two_changes_by_hand():
    """Changes of 1 and -2 everywhere: mean squares 1 and 4, so 1/5 * 1 - 4/5 * 2 = -1.4."""
    pivot = np.full((3, 4), 0.5, np.float32)
    result, task = fuse(Varm(), pivot, [pivot + 1, pivot - 2])
    np.testing.assert_allclose(result, 0.5 - 1.4, rtol=1e-6)
    np.testing.assert_allclose(task.report().weights, [0.2, 0.8], rtol=1e-6)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0])
def test_a_matrix_is_the_papers_formula(power):
    pivot, targets = tensors()
    result, _ = fuse(Varm(power=power), pivot, targets)
    np.testing.assert_allclose(result, reference.varm(pivot, targets, power), **near)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_by_element_every_element_has_weights_of_its_own(power):
    pivot, targets = tensors(bf16=True)
    result, _ = fuse(Varm(granularity="element", power=power), pivot, targets)
    np.testing.assert_allclose(result, reference.varm_elements(pivot, targets, power), **near)


def test_what_shares_weights():
    info = TensorInfo("w", (2, 2), 2, 1)
    assert [Varm(granularity=g).scope for g in ("model", "layer", "module", "matrix", "element")] == [
        "model", "layer", "module", "matrix", "matrix",
    ]  # fmt: skip
    assert Varm(granularity="layer").steps(info) is None
    (last,) = Varm(granularity="element").steps(info)
    assert isinstance(last, Combine)
