"""Structures that are written down are transformers' own, and anything else is in doubt."""

import json

import pytest

from fusionchat.merge.plain_decoder import is_exactly
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
