"""Settings that change what equal weights mean: they must agree, or are warned of, or do not matter."""

import json
import shutil

import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs import settings_alike
from fusionchat.merge.inputs.settings_alike import check_alike, differences
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream.merge import merge_models
from tests.merge.models import gemma3, model


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return model(tmp_path_factory.mktemp("alike") / "pivot")


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(settings_alike, "warn", said.append)
    return said


def merged_with(llama, tmp_path, change):
    """A merge with a target of the same weights whose config differs by ``change`` (None removes a key)."""
    target = shutil.copytree(llama, tmp_path / "target")
    config = json.loads((target / "config.json").read_text()) | change
    (target / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    merge_models(llama, {"t": target}, Linear(), tmp_path / "out", threads=1)


ROPE = {"rope_type": "default", "rope_theta": 1e6}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_attention_heads": 8, "head_dim": 4}, "num_attention_heads is 8, the pivot's 4"),
        ({"hidden_act": "gelu", "rope_parameters": ROPE}, "hidden_act is gelu, the pivot's silu"),
        (
            {"num_key_value_heads": 4, "head_dim": 4, "num_attention_heads": 8},
            "num_key_value_heads is 4, the pivot's 2",
        ),
    ],
)
def test_what_decides_how_weights_are_used_must_agree(llama, tmp_path, change, words):
    with pytest.raises(MergeError, match=words):
        merged_with(llama, tmp_path, change)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope_parameters": ROPE}, "rope_parameters.rope_theta is 1000000.0, the pivot's 10000.0"),
        ({"max_position_embeddings": 4096}, "max_position_embeddings is 4096, the pivot's 128"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05, the pivot's 1e-06"),
        ({"rope_parameters": None, "rope_theta": 5e5}, "rope_theta is 500000.0"),
    ],
)
def test_what_may_differ_is_warned_of(llama, tmp_path, warnings, change, words):
    merged_with(llama, tmp_path, change)
    assert len(warnings) == 1 and words in warnings[0]


@pytest.mark.parametrize(
    "change",
    [
        {
            "torch_dtype": "bfloat16",
            "transformers_version": "4.40.0",
            "use_cache": False,
            "eos_token_id": [1, 2],
        },
        {"attention_dropout": 0.1, "initializer_range": 1.0, "_name_or_path": "x", "unsloth_fixed": True},
        {
            "rope_parameters": None,
            "rope_theta": 10000.0,
            "rope_scaling": None,
        },  # as transformers 4 wrote them
        {"head_dim": None, "attention_bias": None, "mlp_bias": None},  # left to the class
    ],
)
def test_what_does_not_matter_is_silent(llama, tmp_path, warnings, change):
    merged_with(llama, tmp_path, change)
    assert warnings == []


def test_settings_of_parts_and_of_unknown_structures(tmp_path):
    gemma3(tmp_path / "g")
    config = json.loads((tmp_path / "g/config.json").read_text())
    other = {**config, "text_config": {**config["text_config"], "hidden_activation": "silu"}}
    with pytest.raises(
        MergeError, match=r"text_config.hidden_activation is silu, the pivot's gelu_pytorch_tanh"
    ):
        check_alike(config, other, "t", "x")
    own = {"model_type": "of my own", "n_head": 4, "window": [1, 2]}
    assert list(differences(own, {**own, "n_head": 8, "new": 3})) == [("n_head", 4, 8)]
    assert list(differences(own, {**own, "window": [1, 3]})) == [("window", [1, 2], [1, 3])]
