"""Settings of an adapter that have no right merge are refused by their name, and never called another base model."""

import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.config import read_settings
from tests.merge.folders import adapter

FACTORS = {"base_model.model.model.layers.0.q.lora_A.weight": torch.ones(2, 4)}

REFUSED = {
    "peft_type": ["ADALORA", "LOHA", "LOKR", "IA3", "OFT", "VERA", "PROMPT_TUNING", "TRAINABLE_TOKENS", None],
    "init_lora_weights": ["mine", 3, "pissa_nter_4"],
    "alora_invocation_tokens": [[1, 2]],
    "arrow_config": [{"top_k": 3}, {}],
    "use_qalora": [True],
    "use_qa_lora": [True],
    "model_key_mapping": [{"a": "b"}],
    "use_hira": [True],
    "layer_replication": [[[0, 2], [1, 3]]],
    "megatron_config": [{"tensor_model_parallel_size": 2}],
    "enable_lora": [[True, False, True]],
    "a_new_setting": [True, 0.5, "on", {"x": 1}],
    "r": ["8", 0],
    "lora_alpha": [None, "16"],
    "use_rslora": ["yes"],
    "rank_pattern": [["q_proj"], {"q_proj": "8"}, {"(": 8}],
    "alpha_pattern": [{"q_proj": None}],
    "trainable_token_indices": ["all", {"embed_tokens": "all"}, [-1]],
    "target_parameters": ["experts.down_proj"],
    "use_bdlora": [True, {"nblocks": 0}],
    "kasa_config": [{"init": 1}],
}
WITH = {"kasa_config": {"use_dora": True}}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in REFUSED.items() for v in values])
def test_a_setting_without_a_right_merge_is_named(tmp_path, key, value):
    folder = adapter(tmp_path / "a", FACTORS, **{key: value, **WITH.get(key, {})})
    with pytest.raises(MergeError, match=key) as caught:
        read_settings(folder)
    assert "base model" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.where == str(folder / "adapter_config.json")
    assert caught.value.do


OFF = {
    "a_new_setting": [None, False, 0, "", [], {}],
    "arrow_config": [None, False],
    "alora_invocation_tokens": [None, []],
    "layer_replication": [None, []],
    "init_lora_weights": [None, True, False, "gaussian", "Gaussian", "eva", "orthogonal", "mica"],
    "loftq_config": [{}, {"loftq_bits": 4}],
    "corda_config": [{"corda_method": "kpm"}],
    "rank_pattern": [None, {}],
    "peft_version": ["0.21.2"],
    "auto_mapping": [{"base_model_class": "X"}],
    "target_modules": ["all-linear", ["q_proj"]],
    # Other tools: unsloth, ms-swift, LoRA+ in axolotl.
    "unsloth_fixed": [True],
    "lora_dtype": ["bf16"],
    "lorap_lr_ratio": [16.0],
    "lorap_emb_lr": [1e-6],
    "use_merged_linear": [True, False],
    "swift_type": ["LORA"],
    "loraplus_lr_ratio": [16],
    "loraplus_lr_embedding": [1e-6],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in OFF.items() for v in values])
def test_settings_that_are_off_or_only_for_training_change_nothing(tmp_path, key, value):
    plain = read_settings(adapter(tmp_path / "plain", FACTORS))
    held = read_settings(adapter(tmp_path / "a", FACTORS, **{key: value}))
    assert held.start == "plain"
    assert (held.rank, held.alpha, held.ranks, held.dora) == (plain.rank, plain.alpha, {}, False)


def test_patterns_match_as_in_peft(tmp_path):
    from peft.utils.other import get_pattern_key

    patterns = {
        "^model.layers.0.mlp.up": 3,
        "up": 5,
        r"layers\.\d+\.attn\.(q|k)": 7,
        "attn": 11,
        "model.norm": 13,
    }
    settings = read_settings(adapter(tmp_path / "a", FACTORS, rank_pattern=patterns, alpha_pattern=patterns))
    for name in (
        "model.layers.0.mlp.up",
        "model.layers.1.mlp.up",
        "xmodel.layers.0.mlp.up",
        "model.layers.3.attn.k",
        "model.layers.3.attn.v",
        "model.layers.3.attn",
        "norm",
        "other.model.norm",
        "group",
    ):
        key = get_pattern_key(patterns.keys(), name)
        assert settings.rank_of(name) == patterns.get(key, 2)
        assert settings.scale_of(name, 4) == patterns.get(key, 6) / 4
