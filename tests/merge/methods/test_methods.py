"""What all methods share beside the properties of test_properties.py: chunks, degenerate inputs, names, settings."""

import dataclasses

import numpy as np
import pydantic
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.plan import TensorJob
from fusionchat.merge.methods import METHODS, NAMES, MergeMethod
from fusionchat.merge.methods.base import Gram, MixtureMethod
from fusionchat.merge.methods.breadcrumbs import Breadcrumbs
from fusionchat.merge.methods.dare import DareLinear, DareTies
from fusionchat.merge.methods.della import Della
from fusionchat.merge.methods.fisher import Fisher
from fusionchat.merge.methods.karcher import Karcher
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.sce import Sce
from fusionchat.merge.methods.spherical import Multislerp, Nuslerp, Slerp
from fusionchat.merge.methods.steps import TensorInfo
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream.work import work_on
from tests.merge.methods.arrays import EVERY, Held, backwards, combine, fuse, tensors


def degenerate():
    """Changes that leave a ratio without a denominator: opposite, cancelling, equal, absent and tiny ones."""
    rng = np.random.default_rng(0)
    one, two, noise = rng.normal(0, 1e-3, (3, 40, 50)).astype(np.float32)
    some = np.float32
    return {
        "opposite": [one, -one],
        "opposite, longer": [one, some(-1.1) * one],
        "almost opposite": [one, some(-1.1) * one + some(1e-4) * noise],
        "nearly opposite": [one, some(-1.5) * one + some(3e-2) * noise],
        "two against one": [one, one, -one],
        "cancelling": [one, two, -one - two],
        "equal": [one, one],
        "one absent": [one, 0 * one],
        "one tiny": [one, some(-1e-6) * one],
        "all tiny": [some(1e-18) * one, some(1e-18) * two],
    }


@pytest.mark.parametrize("case", degenerate())
@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_no_method_moves_the_pivot_further_than_its_targets(method, case):
    """By length: mixtures stay below the longest change; what is chosen by element or summed, below all together."""
    delta = degenerate()[case]
    if len(delta) == 3 and isinstance(method, Slerp | Nuslerp):
        return
    result, _ = fuse(method, np.zeros((40, 50), np.float32), delta)
    size, longest = np.linalg.norm(result), max(np.linalg.norm(d.astype(np.float64)) for d in delta)
    rescaled = isinstance(method, DareLinear | DareTies | Della)
    mixture = method.steps(TensorInfo("w", (40, 50), len(delta), 1)) is None
    limit = 2.5 * len(delta) if rescaled else 1 if mixture else len(delta)
    limit *= len(delta) if isinstance(method, TaskArithmetic) else 1
    assert size <= longest * limit * (1 + 1e-4)


def test_directions_that_cancel_out_give_the_plain_average_in_any_order():
    one = np.random.default_rng(1).normal(0, 1e-3, (30, 40)).astype(np.float32)
    for method in (Nuslerp(), Multislerp(), Karcher(origin="pivot"), Karcher()):
        for pair in ([one, np.float32(-1.5) * one], [np.float32(-1.5) * one, one]):
            result, _ = fuse(method, np.zeros_like(one), pair)
            np.testing.assert_allclose(result, -0.25 * one, rtol=1e-5)


def test_weights_count_by_their_ratio_however_small():
    pivot, targets = tensors(shape=(30, 40), targets=2)
    for make in (
        lambda *w: Nuslerp(weight=w),
        lambda *w: TaskArithmetic(weight=w, normalize=True),
        lambda *w: DareLinear(weight=w, density=1.0, normalize=True),
    ):
        small, _ = fuse(make(1e-9, 3e-9), pivot, targets)
        plain, _ = fuse(make(1.0, 3.0), pivot, targets)
        np.testing.assert_allclose(small, plain, rtol=1e-6)


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_the_order_of_chunks_does_not_matter(method):
    pivot, targets = tensors(targets=2, bf16=True)
    result, _ = fuse(method, pivot, targets)
    turned, _ = fuse(method, pivot, targets, chunk_map=backwards)
    np.testing.assert_array_equal(result, turned)


AVERAGES = [Varm(), Linear(), Multislerp(), Nuslerp()]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=2), st.sampled_from(AVERAGES))
def test_averages_of_equal_targets_give_that_target(values, method):
    delta = np.array([values, values])
    products = np.zeros((3, 3))
    products[1:, 1:] = delta @ delta.T
    mixture = method.mixture(Gram(products, 2))
    if isinstance(method, Varm) and products[1, 1] == 0:
        return
    assert mixture.base == pytest.approx(1)
    assert mixture.shares_J.sum() == pytest.approx(1)


def test_names_and_types():
    assert set(NAMES) == {
        "varm", "linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "breadcrumbs", "sce",
        "slerp", "nuslerp", "multislerp", "karcher", "model_stock", "fisher", "nearswap", "passthrough",
    }  # fmt: skip
    for kind in METHODS.values():
        assert kind.paper.startswith("https://"), kind
        assert dataclasses.is_dataclass(kind)


def test_settings_are_a_discriminated_union_for_pydantic():
    class Recipe(pydantic.BaseModel):
        merge: MergeMethod = pydantic.Field(discriminator="method")

    assert Recipe.model_validate({"merge": {"method": "varm", "power": 2}}).merge == Varm(power=2)
    assert Recipe.model_validate({"merge": {"method": "ties", "weight": [1, 2]}}).merge == Ties(
        weight=(1.0, 2.0)
    )
    assert isinstance(Recipe.model_validate({"merge": {"method": "linear"}}).merge, MixtureMethod)
    for wrong in (
        {"method": "varm", "powr": 2},
        {"method": "nothing"},
        {"method": "ties", "density": 1.5},
        {},
    ):
        with pytest.raises(pydantic.ValidationError):
            Recipe.model_validate({"merge": wrong})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Varm(power=-1), lambda: Varm(power=float("nan")), lambda: Linear(weight=()),
        lambda: Linear(weight=(1.0, -1.0)), lambda: Linear(weight=(float("inf"), 1.0)), lambda: Ties(density=-0.1),
        lambda: TaskArithmetic(scale=float("nan")), lambda: DareLinear(density=2), lambda: Slerp(t=1.5),
        lambda: Della(density=0.9, epsilon=0.2), lambda: Della(density=0.1, epsilon=0.1), lambda: Sce(select_topk=2),
        lambda: Breadcrumbs(gamma=-1), lambda: Karcher(max_iter=0), lambda: Fisher(weight=(-1.0, 2.0)),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError):
        make()


def test_not_finite_inputs_are_named():
    pivot, targets = tensors(shape=(40, 60), targets=2)
    targets[1, 3, 4] = np.nan
    for method in EVERY:
        with pytest.raises(MergeError, match="element 184"):
            fuse(method, pivot, targets)


def test_half_precision_results_do_not_need_torch_to_be_right():
    pivot, targets = tensors(shape=(64, 64), targets=2)
    sources = tuple(Held(a) for a in (pivot, *targets))
    raw = combine(work_on(TensorJob("w", pivot.shape, sources), Linear(), "bfloat16")).reshape(pivot.shape)
    mean = torch.from_numpy(targets.astype(np.float64).mean(0)).to(torch.bfloat16)
    np.testing.assert_array_equal(raw.view(np.int16), mean.view(torch.int16).numpy())
