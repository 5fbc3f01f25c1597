"""A fused folder whose config and weights disagree is refused before anything is written."""

import json
import shutil

import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.fits import doubtful
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.passthrough import LayerRange, Passthrough
from fusionchat.merge.stream.merge import merge_models
from tests.merge.models import model

SHAPES = {"model.embed_tokens.weight": (64, 8), **{f"model.layers.{n}.mlp.weight": (8, 8) for n in range(3)}}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"vocab_size": 64, "num_hidden_layers": 3, "pad_token_id": 63}, None),
        ({"text_config": {"vocab_size": 64, "num_hidden_layers": 3}}, None),
        ({}, None),
        ({"num_hidden_layers": 4}, "4 layers, the weights have 3"),
        ({"text_config": {"num_hidden_layers": 4}}, "4 layers, the weights have 3"),
        ({"vocab_size": 65}, "vocab_size 65, the weights have tables of 64 rows"),
        ({"text_config": {"vocab_size": 65}}, "vocab_size 65"),
        ({"vocab_size": 64, "pad_token_id": 64}, "pad_token_id 64 is not among 64 rows"),
    ],
)
def test_doubts(config, words):
    found = doubtful(config, SHAPES)
    assert found is None if words is None else words in str(found)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return model(tmp_path_factory.mktemp("fits") / "pivot")


@pytest.mark.parametrize("change", [{"num_hidden_layers": 5}, {"vocab_size": 70}, {"pad_token_id": 64}])
def test_a_config_that_never_fitted_is_refused(llama, tmp_path, change):
    pivot = shutil.copytree(llama, tmp_path / "pivot")
    config = json.loads((pivot / "config.json").read_text())
    (pivot / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(MergeError, match="would not fit its weights"):
        merge_models(pivot, {"t": llama}, Linear(), tmp_path / "out", threads=1)
    assert not (tmp_path / "out").exists()


def test_layers_of_two_kinds_under_a_config_of_one_are_refused(tmp_path):
    """GLM's first layer is dense: a stack that begins with it twice needs another first_k_dense_replace, and gets it."""
    more = {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16,
        "head_dim": 8, "first_k_dense_replace": 1,
    }  # fmt: skip
    pivot = model(tmp_path / "pivot", "glm4_moe", **more)
    twice = Passthrough(slices=(LayerRange("pivot", (0, 1)), LayerRange("pivot", (0, 4))))
    merge_models(pivot, {}, twice, tmp_path / "out", threads=1)
    assert json.loads((tmp_path / "out/config.json").read_text())["first_k_dense_replace"] == 2
    crossed = Passthrough(slices=(LayerRange("pivot", (1, 2)), LayerRange("pivot", (0, 1))))
    with pytest.raises(MergeError, match="first_k_dense_replace: 1"):
        merge_models(pivot, {}, crossed, tmp_path / "no", threads=1)
