"""Adapters as peft saves them: the merged weights are peft's, or the setting that has no right merge is named."""

import json
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.config import BdLoraConfig, KasaConfig, VeloraConfig
from transformers import AutoConfig, AutoModelForCausalLM

from fusionchat.errors import MergeError
from fusionchat.merge import kernels
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream import merge_models
from tests.merge.folders import load

ROWS = 20
IDS = torch.arange(1, 9)[None]
SIZES = {
    "vocab_size": ROWS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
KINDS = {
    "llama": ("llama", {**SIZES, "tie_word_embeddings": False}),
    "tied": ("llama", {**SIZES, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", {**SIZES, "tie_word_embeddings": False}),
    "gpt2": ("gpt2", {"vocab_size": ROWS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}),
    "moe": (
        "qwen3_moe",
        {**SIZES, "tie_word_embeddings": False, "num_experts": 3, "num_experts_per_tok": 2, "head_dim": 8}
        | {"moe_intermediate_size": 12, "decoder_sparse_step": 1, "mlp_only_layers": []},
    ),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Folders of tiny models by kind, made when they are asked for."""
    root, made = tmp_path_factory.mktemp("bases"), {}

    def get(kind):
        if kind not in made:
            torch.manual_seed(0)
            name, sizes = KINDS[kind]
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **sizes))
            for value in model.parameters():
                value.data.add_(0.1 * torch.randn_like(value))  # biases and norms are all alike otherwise
            model.save_pretrained(root / kind)
            made[kind] = root / kind
        return made[kind]

    return get


def opened(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def trained(base, folder, *, rows=None, save="auto", noise=0.1, **settings):
    """An adapter whose trainable values were moved, as peft saves it, and the logits of the model that was trained."""
    model = opened(base)
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], **settings}
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    with torch.no_grad():
        for value in peft.parameters():
            if value.requires_grad:
                value.add_(noise * torch.randn_like(value))
        peft.save_pretrained(folder, save_embedding_layers=save)
        return folder, peft(IDS).logits


def peft_weights(base, adapter):
    return PeftModel.from_pretrained(opened(base), adapter).merge_and_unload().state_dict()


def merged(base, adapter, out, **settings):
    merge_models(base, {"a": adapter}, Linear(), out, **{"dtype": "float32", "threads": 1, **settings})
    return load(out)


def assert_same(ours, theirs, base, atol):
    """Every stored tensor is peft's, and one at least is not the base's."""
    before, moved = load(base), 0.0
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name].double().numpy(), rtol=2e-5, atol=atol, err_msg=name)
        moved = max(moved, float(np.abs(value - before[name]).max()))
    assert moved > 1e-3


SETTINGS = {
    "plain": ("llama", {}),
    "lora_bias": ("qwen2", {"lora_bias": True, "target_modules": ["q_proj", "k_proj"], "use_rslora": True}),
    "lora_bias-square": (
        "gpt2",
        {"lora_bias": True, "target_modules": ["attn.c_proj"], "fan_in_fan_out": True},
    ),
    "bias-all": ("qwen2", {"bias": "all"}),
    "bias-lora_only": ("qwen2", {"bias": "lora_only", "lora_bias": True, "target_modules": ["q_proj"]}),
    "pissa": ("llama", {"init_lora_weights": "pissa"}),
    "pissa-wide-high": (
        "llama",
        {"init_lora_weights": "pissa", "r": 16, "target_modules": ["gate_proj", "q_proj"]},
    ),
    "pissa-rslora": (
        "qwen2",
        {"init_lora_weights": "pissa", "use_rslora": True, "rank_pattern": {"q_proj": 2}},
    ),
    "pissa-conv": (
        "gpt2",
        {"init_lora_weights": "pissa", "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
    ),
    "pissa-dora": ("llama", {"init_lora_weights": "pissa", "use_dora": True}),
    "olora": ("llama", {"init_lora_weights": "olora"}),
    "olora-scale": ("qwen2", {"init_lora_weights": "olora", "lora_alpha": 3, "alpha_pattern": {"q_proj": 9}}),
    "olora-conv": (
        "gpt2",
        {"init_lora_weights": "olora", "target_modules": ["attn.c_proj"], "fan_in_fan_out": True},
    ),
    "gaussian": ("llama", {"init_lora_weights": "gaussian"}),
    "orthogonal": ("llama", {"init_lora_weights": "orthogonal"}),
    "random": ("llama", {"init_lora_weights": False}),
    "mica": ("llama", {"init_lora_weights": "mica"}),
    "dora": ("llama", {"use_dora": True}),
    "dora-conv": ("gpt2", {"use_dora": True, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "dora-embedding": ("llama", {"use_dora": True, "target_modules": ["embed_tokens", "up_proj"]}),
    "kasa": ("llama", {"kasa_config": KasaConfig()}),
    "velora": ("llama", {"velora_config": VeloraConfig(num_groups=4)}),
    "bd-lora": (
        "llama",
        {
            "use_bdlora": BdLoraConfig(
                target_modules_bd_a=["down_proj"], target_modules_bd_b=["q_proj"], nblocks=2
            )
        },
    ),
    "embedding": ("llama", {"target_modules": ["embed_tokens", "lm_head"]}),
    "embedding-pissa": (
        "llama",
        {"target_modules": ["embed_tokens", "q_proj"], "init_lora_weights": "pissa"},
    ),
    "conv-said-wrongly": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": False}),
    "linear-said-wrongly": ("llama", {"fan_in_fan_out": True}),
    "patterns": (
        "llama",
        {
            "rank_pattern": {"^model.layers.0.self_attn.q_proj": 2, "down_proj": 3},
            "alpha_pattern": {r"layers\.1\..*": 5, "q_proj": 7, "model.layers.0.mlp.down_proj": 11},
        },
    ),
    "one-layer": ("llama", {"layers_to_transform": [1], "layers_pattern": "layers"}),
    "modules_to_save": ("llama", {"modules_to_save": ["embed_tokens", "lm_head", "norm"]}),
    "modules_to_save-whole": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["mlp"]}),
    "tokens": ("llama", {"trainable_token_indices": [1, 5]}),
    "tokens-by-module": ("llama", {"trainable_token_indices": {"embed_tokens": [7, 1], "lm_head": [2]}}),
    "save-embeddings": ("llama", {"trainable_token_indices": [1, 5], "save": True}),
    "save-lora-embedding": ("llama", {"target_modules": ["embed_tokens", "q_proj"], "save": True}),
    "experts": ("moe", {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}),
    "two-parameters": (
        "moe",
        {"target_modules": [], "target_parameters": ["experts.down_proj", "experts.gate_up_proj"], "r": 2},
    ),
    "router": ("moe", {"target_modules": ["v_proj"], "target_parameters": ["mlp.gate.weight"]}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_merge_is_pefts(tmp_path, bases, setting, monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK", 50)  # blocks that begin inside a row
    kind, settings = SETTINGS[setting]
    base = bases(kind)
    adapter, logits = trained(base, tmp_path / "a", **settings)
    ours = merged(base, adapter, tmp_path / "out")
    if kind != "moe":  # whose experts transformers holds otherwise than they are stored
        atol = 5e-5 if "pissa" in setting else 2e-6  # peft takes singular vectors in fp32
        assert_same(ours, peft_weights(base, adapter), base, atol)
    with torch.no_grad():
        torch.testing.assert_close(opened(tmp_path / "out")(IDS).logits, logits, rtol=2e-4, atol=5e-5)
        assert (logits - opened(base)(IDS).logits).abs().max() > 1e-3


TIED = {
    "copy-of-the-embedding": ({"modules_to_save": ["embed_tokens"]}, False),
    "copies-of-both": ({"modules_to_save": ["embed_tokens", "lm_head"]}, False),
    "one-copy": ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, True),
    "one-copy-of-the-head": ({"modules_to_save": ["lm_head"], "ensure_weight_tying": True}, True),
    "factors-of-the-embedding": ({"target_modules": ["embed_tokens"]}, False),
    "factors-of-the-head": ({"target_modules": ["lm_head"]}, False),
    "factors-of-both": ({"target_modules": ["embed_tokens", "lm_head"]}, False),
    "the-same-factors": ({"target_modules": ["embed_tokens"], "ensure_weight_tying": True}, True),
    "tokens": ({"trainable_token_indices": [1, 5]}, True),
    "tokens-of-both": ({"trainable_token_indices": {"embed_tokens": [1, 5], "lm_head": [1, 5]}}, True),
    "other-tokens": ({"trainable_token_indices": {"embed_tokens": [1, 5], "lm_head": [1]}}, False),
    "saved": ({"save": True}, True),
}


@pytest.mark.parametrize("stored", [False, True], ids=["head-left-out", "head-stored"])
@pytest.mark.parametrize("setting", TIED)
def test_a_tied_head_stays_tied_only_where_it_was_trained_so(tmp_path, bases, setting, stored):
    from safetensors.torch import load_file, save_file

    settings, together = TIED[setting]
    base = bases("tied")
    adapter, logits = trained(base, tmp_path / "a", **settings)
    if stored:
        base = shutil.copytree(base, tmp_path / "base")
        weights = load_file(base / "model.safetensors")
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    ours = merged(base, adapter, tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["tie_word_embeddings"] is together
    assert ("lm_head.weight" in ours) is (stored or not together)
    with torch.no_grad():
        torch.testing.assert_close(opened(tmp_path / "out")(IDS).logits, logits, rtol=2e-4, atol=2e-5)


def resized(tmp_path, bases, kind, **settings):
    """A base of 20 tokens with its tokenizer, and an adapter that was trained with three more."""
    base = shutil.copytree(bases(kind), tmp_path / "base")
    tokens = {f"t{n}": n for n in range(ROWS)}
    write_tokenizer(base, tokens, {})
    adapter, logits = trained(base, tmp_path / "a", rows=ROWS + 3, **settings)
    write_tokenizer(adapter, tokens, {f"<{n}>": ROWS + n for n in range(3)})
    return base, adapter, logits


def write_tokenizer(folder, tokens, added):
    entries = [{"id": n, "content": text, "special": True} for text, n in added.items()]
    model = {"type": "WordLevel", "vocab": tokens, "unk_token": "t0"}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": entries}))


GROWN = {
    "stored": ("llama", {"save": True}),
    "copies": ("llama", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "tied": ("tied", {"save": True}),
    "factors": ("llama", {"target_modules": ["embed_tokens", "lm_head"], "save": True}),
    "rows": ("llama", {"trainable_token_indices": [3, 21, 22], "save": True}),
    "rows-only": ("tied", {"trainable_token_indices": [22, 21, 20], "save": False}),
}


@pytest.mark.parametrize("setting", GROWN)
def test_an_adapter_of_a_larger_vocabulary_is_united_with_the_pivots(tmp_path, bases, setting):
    kind, settings = GROWN[setting]
    base, adapter, logits = resized(tmp_path, bases, kind, **settings)
    with pytest.raises(MergeError, match="embeddings to pivot or union") as caught:
        merged(base, adapter, tmp_path / "refused")
    assert "base model" not in str(caught.value)
    ours = merged(base, adapter, tmp_path / "out", embeddings="union")
    assert ours["model.embed_tokens.weight"].shape[0] == ROWS + 3
    assert json.loads((tmp_path / "out/config.json").read_text())["vocab_size"] == ROWS + 3
    with torch.no_grad():
        torch.testing.assert_close(opened(tmp_path / "out")(IDS).logits, logits, rtol=2e-4, atol=2e-5)
    cut = merged(base, adapter, tmp_path / "cut", embeddings="pivot")["model.embed_tokens.weight"]
    np.testing.assert_array_equal(cut, ours["model.embed_tokens.weight"][:ROWS])


def test_a_larger_vocabulary_that_is_not_in_the_file_is_said_so(tmp_path, bases):
    base, adapter, _ = resized(tmp_path, bases, "llama", target_modules=["lm_head"], save=False)
    with pytest.raises(MergeError, match=r"23 rows in lm_head.weight, .*20") as caught:
        merged(base, adapter, tmp_path / "out", embeddings="union")
    assert "base model" not in str(caught.value)
    (tmp_path / "b").mkdir()
    base, adapter, _ = resized(tmp_path / "b", bases, "tied", trainable_token_indices=[22], save=False)
    with pytest.raises(MergeError, match="row 20 is not in its file"):
        merged(base, adapter, tmp_path / "out", embeddings="union")
    (tmp_path / "c").mkdir()
    base, adapter, _ = resized(tmp_path / "c", bases, "llama", save=True)
    (adapter / "tokenizer.json").unlink()
    with pytest.raises(MergeError, match=r"needs a tokenizer\.json"):
        merged(base, adapter, tmp_path / "out", embeddings="union")
