"""Inner products of low-rank changes: those of the formed matrices, and when they are not formed."""

import numpy as np
import pytest
import torch

from fusionchat.merge.inputs.adapters.low_rank import Adapted, Change, Factors, Kept
from fusionchat.merge.inputs.adapters.products import inner_product, products_of_factors
from fusionchat.merge.inputs.plan import TensorJob
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream.merge import inner_products, merge_models
from fusionchat.merge.stream.work import TensorWork
from tests.merge.folders import adapter, load, random_tensors, save
from tests.merge.inputs.adapters.test_low_rank import Base


def factors(seed, experts, rows, columns, rank):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(experts, rows, rank)), rng.normal(size=(experts, rank, columns))


def adapted(base, seed, rank, **change):
    held = factors(seed, 1, *base.shape, rank)
    return Adapted(base, Change(lambda: held, **change), "a", Kept())


@pytest.mark.parametrize("experts", [1, 3])
def test_the_product_is_that_of_the_formed_changes(experts):
    one, other = (Factors(*factors(seed, experts, 30, 40, seed)) for seed in (2, 5))
    formed = (one.left @ one.right, other.left @ other.right)
    assert inner_product(one, other) == pytest.approx(float((formed[0] * formed[1]).sum()), rel=1e-12)
    mean_square = inner_product(one, one) / formed[0].size
    assert mean_square == pytest.approx(float(np.mean(formed[0] ** 2)), rel=1e-12)


def test_a_hand_made_product():
    """Changes [[2, 4], [0, 0]] and [[1, 1], [1, 1]]: 2 + 4 = 6; the first's square is 20."""
    one = Factors(np.array([[[1.0], [0.0]]]), np.array([[[2.0, 4.0]]]))
    other = Factors(np.array([[[1.0], [1.0]]]), np.array([[[1.0, 1.0]]]))
    assert (inner_product(one, other), inner_product(one, one)) == (6.0, 20.0)


def test_a_tensors_products_and_those_of_a_target_that_left_it_alone():
    base = Base(np.ones((30, 40)))
    sources = (base, adapted(base, 1, 2), base, adapted(base, 2, 3))
    gram = products_of_factors(TensorJob("w", (30, 40), sources))
    changes = [
        (s.factors().left @ s.factors().right)[0] if s is not base else np.zeros((30, 40)) for s in sources
    ]
    expected = [[float((a * b).sum()) for b in changes] for a in changes]
    np.testing.assert_allclose(gram.products_NN, expected, rtol=1e-12)
    assert (gram.count, gram.targets) == (1200, 3)
    nothing = products_of_factors(TensorJob("w", (30, 40), (base, base)))
    assert not nothing.products_NN.any()


def test_changes_that_are_no_factors_or_large_ones_are_looked_at():
    base, other = Base(np.ones((30, 40))), Base(np.ones((30, 40)))

    def found(*targets):
        return products_of_factors(TensorJob("w", (30, 40), (base, *targets)))

    assert found(adapted(base, 1, 2)) is not None
    assert found(adapted(other, 1, 2)) is None  # of another tensor than the pivot's
    assert found(other, adapted(base, 1, 2)) is None  # a whole tensor
    assert found(adapted(base, 1, 18)) is None  # forming 18 (30 + 40) numbers is as cheap as forming 1,200
    assert found(adapted(base, 1, 2, lengths_O=lambda: np.ones(30))) is None  # DoRA
    broken = Adapted(base, Change(lambda: (np.full((1, 30, 2), np.nan), np.ones((1, 2, 40)))), "a", Kept())
    assert found(broken) is None  # a look says where it is


@pytest.mark.parametrize("granularity", ["matrix", "layer"])
def test_varm_of_adapters_is_that_of_whole_targets_without_a_look_at_changes(
    tmp_path, monkeypatch, granularity
):
    shapes = {f"model.layers.{n}.mlp.up_proj.weight": (48, 40) for n in range(2)} | {
        "model.norm.weight": (40,)
    }
    base = save(tmp_path / "base", random_tensors(0, shapes=shapes))
    folders = {}
    for seed, name in enumerate("ab", 1):
        held = {}
        for n in range(2):
            up, down = (torch.from_numpy(one[0]).float() for one in factors(10 * seed + n, 1, 48, 40, 2))
            prefix = f"base_model.model.model.layers.{n}.mlp.up_proj.lora_"
            held |= {f"{prefix}A.weight": down, f"{prefix}B.weight": 0.01 * seed * up}
        folders[name] = adapter(tmp_path / name, held, r=2, lora_alpha=2)
    whole = {}
    for name, folder in folders.items():
        merge_models(base, {name: folder}, Linear(), tmp_path / f"whole-{name}", dtype="float32")
        whole[name] = tmp_path / f"whole-{name}"
    method = Varm(granularity=granularity)
    formed = merge_models(base, whole, method, tmp_path / "formed", dtype="float32")
    looks, measure = [], TensorWork.measure
    monkeypatch.setattr(
        TensorWork, "measure", lambda self, m: looks.append(self.job.name) or measure(self, m)
    )
    merged = merge_models(base, folders, method, tmp_path / "merged", dtype="float32")
    assert looks == []
    for one, other in zip(merged.tensors, formed.tensors, strict=True):
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-5)
        np.testing.assert_allclose(one.rms, other.rms, rtol=1e-5)
        assert one.conflicts == other.conflicts
    for name, values in load(tmp_path / "merged").items():
        np.testing.assert_allclose(values, load(tmp_path / "formed")[name], rtol=1e-5, atol=1e-6)
    assert set(inner_products(base, folders)) == set(shapes) and looks  # a search's are of all methods
