"""Every method against its numpy reference through the engine, and the properties that all of them share."""

import dataclasses

import numpy as np
import pydantic
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.plan import Job
from fusionchat.merge.kernels import blocks as kernels
from fusionchat.merge.kernels.elements import average_by_information
from fusionchat.merge.methods import METHODS, NAMES, MergeMethod
from fusionchat.merge.methods.base import Gram, MixtureMethod, TensorInfo
from fusionchat.merge.methods.dare import DareLinear, DareTies, Della
from fusionchat.merge.methods.fisher import Fisher
from fusionchat.merge.methods.karcher import Karcher
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.model_stock import ModelStock
from fusionchat.merge.methods.sce import Sce
from fusionchat.merge.methods.spherical import Multislerp, Nuslerp, Slerp
from fusionchat.merge.methods.ties import Breadcrumbs, Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream import work
from fusionchat.merge.stream.work import TensorWork
from tests.reference import merge as reference


@dataclasses.dataclass
class Held:
    """A tensor in memory, as the engine reads it."""

    values: np.ndarray
    origin: str = "memory"

    @property
    def shape(self):
        return self.values.shape

    def decode(self, begin, out):
        out[:] = self.values.reshape(-1)[begin : begin + out.size]

    def read_ahead(self, begin):
        pass

    def release(self):
        pass


def in_order(function, chunks):
    return map(function, range(chunks))


def backwards(function, chunks):
    """Chunks in another order than they are asked for."""
    made = {chunk: function(chunk) for chunk in reversed(range(chunks))}
    return iter([made[chunk] for chunk in range(chunks)])


def fuse(method, pivot, targets, auxiliary=(), name="w", chunk_map=in_order):
    """Merge arrays; returns values and the work."""
    sources = tuple(Held(np.ascontiguousarray(a, dtype=np.float32)) for a in (pivot, *targets))
    job = Job(name, sources[0].shape, sources, tuple(Held(a) for a in auxiliary))
    task = TensorWork(job, method, "float32")
    task.prepare(chunk_map)
    values = np.concatenate(list(task.combine(chunk_map)))
    return values.reshape(pivot.shape), task


def tensors(seed=0, shape=(120, 300), targets=3, scale=1e-3, bf16=False):
    rng = np.random.default_rng(seed)
    pivot = rng.normal(0, 0.02, shape).astype(np.float32)
    changed = np.stack(
        [pivot + rng.normal(0, scale * (j + 1), shape).astype(np.float32) for j in range(targets)]
    )
    if bf16:  # many equal magnitudes
        both = reference.to_bf16(np.stack([pivot, *changed]).astype(np.float64)).astype(np.float32)
        return both[0], both[1:]
    return pivot, changed


EVERY = [
    Varm(), Varm(power=0.5), Varm(granularity="element"), Linear(), TaskArithmetic(scale=0.5), Ties(), Sce(),
    Ties(density=0.5, normalize=False), DareLinear(), DareTies(), Della(), Della(elect_sign=False), Breadcrumbs(),
    Breadcrumbs(elect_sign=True), Slerp(), Nuslerp(), Multislerp(), Karcher(), ModelStock(),
]  # fmt: skip
near = {"rtol": 3e-7, "atol": 3e-9}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(work, "CHUNK", kernels.BLOCK)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_ties(density, bf16):
    pivot, targets = tensors(bf16=bf16)
    result, task = fuse(Ties(density=density, weight=(1.0, 0.5, 2.0), scale=0.9), pivot, targets)
    expected = reference.ties(pivot, targets, density, weight=(1.0, 0.5, 2.0), scale=0.9)
    np.testing.assert_allclose(result, expected, **near)
    assert [round(k * pivot.size) for k in task.report().kept] == [int(density * pivot.size)] * 3


@pytest.mark.parametrize("elect", [False, True])
@pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.01), (0.5, 0.3), (0.95, 0.2), (0.0, 0.1), (1.0, 0.0)])
def test_breadcrumbs(density, gamma, elect):
    pivot, targets = tensors(bf16=True)
    result, _ = fuse(Breadcrumbs(density=density, gamma=gamma, elect_sign=elect), pivot, targets)
    np.testing.assert_allclose(result, reference.breadcrumbs(pivot, targets, density, gamma, elect), **near)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
def test_sce(share, bf16):
    pivot, targets = tensors(bf16=bf16)
    result, _ = fuse(Sce(select_topk=share), pivot, targets)
    expected = pivot if share == 0 else reference.sce(pivot, targets, share)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-8)


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


def test_karcher():
    pivot, targets = tensors(targets=4, scale=0.02)
    result, _ = fuse(Karcher(max_iter=100), pivot, targets)
    np.testing.assert_allclose(result, reference.karcher(targets), rtol=1e-3, atol=1e-6)
    zero, _ = fuse(Karcher(), pivot, np.zeros_like(targets))
    np.testing.assert_array_equal(zero, 0)
    half, _ = fuse(Karcher(), pivot, [targets[0], np.zeros_like(pivot)])
    np.testing.assert_allclose(half, targets[0] / 2, rtol=1e-6)


def test_model_stock():
    pivot, targets = tensors(targets=3)
    together = targets + 1e-3 * np.random.default_rng(9).normal(size=pivot.shape).astype(np.float32)
    result, _ = fuse(ModelStock(), pivot, together)
    np.testing.assert_allclose(result, reference.model_stock(pivot, together), rtol=1e-5, atol=1e-8)
    same, _ = fuse(ModelStock(), pivot, [targets[0], targets[0]])
    np.testing.assert_allclose(same, targets[0], rtol=1e-6)
    opposite, _ = fuse(ModelStock(), pivot, [pivot + np.float32(0.5), pivot - np.float32(0.5)])
    np.testing.assert_allclose(opposite, pivot, atol=1e-6)


def turned(cosines, scale):
    """Changes of one length whose pairs have these cosines (a matrix), in 1,000 dimensions."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(1000, len(cosines))))[0].T
    return (scale * np.linalg.cholesky(np.array(cosines)) @ basis).astype(np.float32)


@pytest.mark.parametrize(
    ("pairs", "t"),
    [
        ([0.5], 2 * 0.5 / 1.5),
        ([0.2, 0.2, 0.2], 3 * 0.2 / 1.4),
        ([-0.499, -0.499, -0.499], 0.0),  # the formula says t = -748.5
        ([-0.999], 0.0),  # -1998
        ([-0.3], 0.0),
        ([0.6, -0.9, -0.6], 0.0),
        ([1e-3], 2e-3 / 1.001),
    ],
)
def test_model_stock_goes_from_the_pivot_to_the_average_and_no_further(pairs, t):
    """arXiv 2403.19522, Eq. 4, with t held in [0, 1]: J = 2 or 3 changes of rms 1e-5 never become larger ones."""
    count = 2 if len(pairs) == 1 else 3
    cosines = np.eye(count)
    cosines[np.triu_indices(count, 1)] = pairs
    delta = turned(cosines + np.triu(cosines, 1).T, 3e-4)
    result, task = fuse(ModelStock(), np.zeros(1000, np.float32), delta)
    np.testing.assert_allclose(result, t * delta.astype(np.float64).mean(0), rtol=2e-3, atol=1e-9)
    np.testing.assert_allclose(task.report().weights, [t / count] * count, rtol=2e-3, atol=1e-9)


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
    mixture = method.program(TensorInfo("w", (40, 50), len(delta), 1)) is None
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


def test_fisher():
    pivot, targets = tensors(targets=2)
    information = np.random.default_rng(3).exponential(1e-8, targets.shape).astype(np.float32)
    information[:, :10] = 0
    information[0, 10:20] = 0
    result, _ = fuse(Fisher(), pivot, targets, auxiliary=information)
    np.testing.assert_allclose(result, reference.fisher(targets, information), **near)
    np.testing.assert_array_equal(result[10:20], targets[1][10:20])


@pytest.mark.parametrize(("value", "words"), [(np.nan, "w has .* element 7"), (-1e-9, "w is negative")])
def test_fisher_information_that_is_none_is_refused(value, words):
    pivot, targets = tensors(shape=(40, 60), targets=2)
    information = np.ones_like(targets)
    information[1, 0, 7] = value
    with pytest.raises(MergeError, match=words):
        fuse(Fisher(), pivot, targets, auxiliary=information)
    x, count, out = np.stack([pivot, *targets]).reshape(3, -1), [], []
    for form in (np.asarray, torch.from_numpy):
        average, kept = form(np.zeros(pivot.size)), np.zeros(2, np.int64)
        count.append(
            average_by_information(form(x), form(information.reshape(2, -1)), np.ones(2), kept, average)
        )
        out.append(np.asarray(average))
    assert count == [value < 0, value < 0]
    np.testing.assert_array_equal(*out)
    assert np.isnan(out[0][7]) == np.isnan(value)


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_targets_equal_to_the_pivot_give_the_pivot(method):
    pivot, _ = tensors(shape=(40, 60))
    count = 2
    result, task = fuse(method, pivot, np.stack([pivot] * count))
    np.testing.assert_allclose(result, pivot, rtol=2e-7)
    assert task.report().conflicts == 0


ONE = [
    m
    for m in EVERY
    if not isinstance(m, Nuslerp | ModelStock | DareLinear | DareTies | Della | Slerp | Breadcrumbs)
]


@pytest.mark.parametrize("method", ONE, ids=repr)
def test_one_target_gives_itself(method):
    pivot, targets = tensors(shape=(40, 60), targets=1)
    if isinstance(method, Ties):
        method = dataclasses.replace(method, density=1.0)
    if isinstance(method, TaskArithmetic):
        method = TaskArithmetic()
    result, _ = fuse(method, pivot, targets)
    np.testing.assert_allclose(result, targets[0], rtol=2e-7, atol=1e-9)


UNORDERED = [m for m in EVERY if not isinstance(m, DareLinear | DareTies | Della | Slerp | Nuslerp)]


@pytest.mark.parametrize("method", UNORDERED, ids=repr)
def test_the_order_of_targets_does_not_matter(method):
    pivot, targets = tensors(bf16=True)
    result, _ = fuse(method, pivot, targets)
    turned, _ = fuse(method, pivot, targets[[2, 0, 1]])
    np.testing.assert_allclose(result, turned, rtol=1e-5, atol=1e-8)


SCALE_FREE = [m for m in EVERY if not isinstance(m, Slerp | Karcher)]


@pytest.mark.parametrize("power", [-20, 20])
@pytest.mark.parametrize("method", SCALE_FREE, ids=repr)
def test_changes_scaled_by_a_power_of_two_scale_the_result(method, power):
    _, delta = tensors(shape=(50, 70), targets=2)
    pivot = np.zeros(delta.shape[1:], np.float32)
    result, _ = fuse(method, pivot, delta)
    scaled, _ = fuse(method, pivot, delta * np.float32(2.0**power))
    np.testing.assert_allclose(scaled.astype(np.float64) / 2.0**power, result, rtol=1e-5, atol=1e-9)


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
        "slerp", "nuslerp", "multislerp", "karcher", "model_stock", "fisher", "passthrough",
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


def test_one_value_a_target():
    pivot, targets = tensors(targets=2)
    result, task = fuse(Ties(density=(0.1, 0.7)), pivot, targets)
    np.testing.assert_allclose(task.report().kept, [0.1, 0.7], atol=1e-4)
    with pytest.raises(ValueError, match="3 values for 2"):
        fuse(Ties(density=(0.1, 0.7, 0.2)), pivot, targets)
    assert result.shape == pivot.shape


def test_not_finite_inputs_are_named():
    pivot, targets = tensors(shape=(40, 60), targets=2)
    targets[1, 3, 4] = np.nan
    for method in EVERY:
        with pytest.raises(MergeError, match="element 184"):
            fuse(method, pivot, targets)


def test_half_precision_results_do_not_need_torch_to_be_right():
    pivot, targets = tensors(shape=(64, 64), targets=2)
    sources = tuple(Held(a) for a in (pivot, *targets))
    task = TensorWork(Job("w", pivot.shape, sources), Linear(), "bfloat16")
    task.prepare(in_order)
    raw = np.concatenate(list(task.combine(in_order))).reshape(pivot.shape)
    mean = torch.from_numpy(targets.astype(np.float64).mean(0)).to(torch.bfloat16)
    np.testing.assert_array_equal(raw.view(np.int16), mean.view(torch.int16).numpy())
