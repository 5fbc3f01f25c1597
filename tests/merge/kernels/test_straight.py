"""The straight way from bfloat16 files to a bfloat16 result against the way through blocks."""

import numpy as np
import pytest

from fusionchat.merge.methods.karcher import Karcher
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.spherical import Slerp
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream import cut, work
from fusionchat.merge.stream.merge import inner_products, merge_models
from tests.merge.folders import family

SHAPES = {
    "model.embed_tokens.weight": (300, 401),
    "model.layers.0.mlp.up_proj.weight": (32, 64),
    "model.norm.weight": (7,),
}
METHODS = [
    Varm(),
    Varm(granularity="model"),
    Linear(weight=(1.0, 2.0)),
    TaskArithmetic(scale=0.3),
    Slerp(),
    Karcher(),
]


@pytest.fixture
def blocks_only(monkeypatch):
    """A function that takes the straight way away."""
    return lambda: monkeypatch.setattr(work, "_addresses", lambda job: None)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_both_ways_give_the_same_bytes_and_report(tmp_path, monkeypatch, blocks_only, method):
    monkeypatch.setattr(cut, "CHUNK", 2 * cut.BLOCK)
    pivot, targets = family(tmp_path, 2, dtype="bfloat16", shapes=SHAPES)
    seen, mix = [], work.mix_files
    monkeypatch.setattr(work, "mix_files", lambda *given: seen.append(given[1]) or mix(*given))
    straight = merge_models(pivot, targets, method, tmp_path / "straight", threads=2)
    assert sorted(seen) == [0, 0, 0, 65536]
    blocks_only()
    blocks = merge_models(pivot, targets, method, tmp_path / "blocks", threads=1)
    assert straight.files == blocks.files
    for one, other in zip(straight.tensors, blocks.tensors, strict=True):
        assert (one.name, one.conflicts) == (other.name, other.conflicts)
        for part in ("weights", "rms", "cosine", "change_rms", "rounding_loss"):
            np.testing.assert_allclose(getattr(one, part), getattr(other, part), rtol=1e-6)


def test_mixed_types_go_through_blocks(tmp_path, blocks_only):
    pivot, _ = family(tmp_path / "one", 1, dtype="bfloat16", shapes=SHAPES)
    _, targets = family(tmp_path / "two", 2, dtype="float32", shapes=SHAPES)
    mixed = merge_models(pivot, targets, Varm(), tmp_path / "mixed", threads=1)
    blocks_only()
    assert merge_models(pivot, targets, Varm(), tmp_path / "blocks", threads=1).files == mixed.files


def test_inner_products_are_the_same(tmp_path, blocks_only):
    pivot, targets = family(tmp_path, 3, dtype="bfloat16", shapes=SHAPES)
    straight = inner_products(pivot, targets)
    blocks_only()
    for name, gram in inner_products(pivot, targets).items():
        np.testing.assert_allclose(straight[name].products_NN, gram.products_NN, rtol=1e-6, atol=1e-9)
        assert straight[name].conflicts == gram.conflicts
        assert np.count_nonzero(gram.products_NN) == 16
