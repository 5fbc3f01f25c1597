"""Structures that are written down are transformers' own, and anything else is in doubt."""

import json

import pytest

from fusionchat.merge.inputs.plain_decoder import is_exactly
from tests.merge.models import model
from tests.merge.real import tensors


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_plain_decoders_are_written_down_as_transformers_builds_them(tmp_path, kind, tied, biased):
    more = {"attention_bias": biased, "mlp_bias": biased} if kind in ("llama", "qwen3") else {}
    folder = model(tmp_path / "m", kind, tie_word_embeddings=tied, head_dim=16, **more)
    config = json.loads((folder / "config.json").read_text())
    shapes = {name: tuple(t.shape) for name, t in tensors(folder).items()}
    assert is_exactly(config, shapes)
    for name, shape in shapes.items():
        assert not is_exactly(config, {n: s for n, s in shapes.items() if n != name}), name
        assert not is_exactly(config, shapes | {name: (*shape, 1)})
        assert not is_exactly(config, shapes | {f"{name}.more": (1,)})
    for key in ("hidden_size", "num_hidden_layers", "num_key_value_heads", "vocab_size"):
        assert not is_exactly(config | {key: config[key] * 2}, shapes)


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_types": ["full_attention"] * 5},
        {"layer_types": ["odd"] * 4},
        {"hidden_act": "mine"},
        {"rms_norm_eps": "1e-6"},
        {"rope_parameters": {"rope_type": "mine", "rope_theta": 1e4}},
        {"rope_scaling": {"type": "llama3", "factor": 8}},
        {"num_attention_heads": 3},
        {"pad_token_id": 64},
        {"vocab_size": "64"},
        {"use_cache": "yes"},
        {"auto_map": {"AutoModelForCausalLM": "mine.Model"}},
    ],
)
def test_settings_that_transformers_may_refuse_are_left_to_it(tmp_path, changes):
    folder = model(tmp_path / "m", "qwen3", head_dim=8)
    config = json.loads((folder / "config.json").read_text())
    shapes = {name: tuple(t.shape) for name, t in tensors(folder).items()}
    assert is_exactly(config, shapes)
    assert not is_exactly(config | changes, shapes)


def test_the_ropes_of_published_models_need_no_transformers(tmp_path):
    folder = model(tmp_path / "m", "llama")
    config = json.loads((folder / "config.json").read_text())
    shapes = {name: tuple(t.shape) for name, t in tensors(folder).items()}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    published = {
        **config,
        "rope_theta": 5e5,
        "rope_scaling": llama3 | {"original_max_position_embeddings": 8192},
    }
    del published["rope_parameters"]
    assert is_exactly(published, shapes)
    assert is_exactly(published | {"rope_scaling": {"type": "linear", "factor": 2.0}}, shapes)
