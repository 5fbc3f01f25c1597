"""Settings by layer follow the layers, in models of many structures; what cannot follow is refused by name."""

import json

import pytest
import torch
from transformers import AutoConfig

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.layers.depth import Pick, restacked
from fusionchat.merge.inputs.textmodel import as_known
from fusionchat.merge.methods.passthrough import LayerRange, Passthrough
from fusionchat.merge.stream.merge import merge_models
from tests.merge.models import gemma3, model

DEEPER, PRUNED = [0, 1, 2, 1, 2, 3], [0, 1, 3]
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
DEEPSEEK = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16,
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_nope_head_dim": 8,
    "num_key_value_heads": 4, "first_k_dense_replace": 2,
}  # fmt: skip


def ranges(picks):
    found = []
    for pick in picks:
        if found and found[-1][1] == pick:
            found[-1][1] += 1
        else:
            found.append([pick, pick + 1])
    return tuple(LayerRange("pivot", tuple(found)) for found in found)


def stacked(pivot, picks, out):
    merge_models(pivot, {}, Passthrough(slices=ranges(picks)), out, dtype="float32", threads=1)
    return json.loads((out / "config.json").read_text())


def logits(made, picks=None):
    """What a model says of a text, with its layers put in another order first."""
    if picks is not None:
        part, name = next(
            (module, name)
            for module in made.modules()
            for name, child in module.named_children()
            if name in ("layers", "h") and isinstance(child, torch.nn.ModuleList) and len(child) == 4
        )
        setattr(part, name, torch.nn.ModuleList([getattr(part, name)[n] for n in picks]))
        config = made.config.get_text_config()
        for key in ("layer_types", "no_rope_layers"):
            if isinstance(held := getattr(config, key, None), list):
                setattr(config, key, [held[n] for n in picks])
        config.num_hidden_layers = len(picks)
    return made.eval()(torch.arange(1, 40)[None], use_cache=False).logits


@pytest.mark.parametrize(
    ("kind", "more", "picks", "expected"),
    [
        ("smollm3", {}, DEEPER, {"no_rope_layers": [1, 1, 1, 1, 1, 0]}),
        ("smollm3", {}, PRUNED, {"no_rope_layers": [1, 1, 0]}),
        ("qwen3_moe", {**EXPERTS, "decoder_sparse_step": 2}, PRUNED, {"mlp_only_layers": [0], "decoder_sparse_step": 1}),
        ("qwen3_moe", {**EXPERTS, "mlp_only_layers": [1]}, DEEPER, {"mlp_only_layers": [1, 3], "decoder_sparse_step": 1}),
        ("gpt_neo", {"num_layers": 4, "num_heads": 4, "window_size": 8, "attention_types": [[["global", "local"], 2]]}, PRUNED,
         {"num_layers": 3, "attention_layers": ["global", "local", "local"]}),
        ("lfm2", {"full_attn_idxs": [1, 3]}, DEEPER, {"full_attn_idxs": [1, 3, 5]}),
        ("deepseek_v3", DEEPSEEK, [0, 0, 1, 2, 3], {"first_k_dense_replace": 3}),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 2, "sliding_window": 8}, PRUNED,
         {"layer_types": ["full_attention", "full_attention", "sliding_attention"]}),
        ("gpt2", {"n_positions": 64, "n_embd": 32, "n_layer": 4, "n_head": 4}, DEEPER, {"n_layer": 6}),
    ],
)  # fmt: skip
def test_layers_keep_what_they_were(tmp_path, kind, more, picks, expected):
    """The right values are counted by hand; the right logits are those of the model with its own layers moved."""
    from transformers import AutoModelForCausalLM

    pivot = model(tmp_path / "pivot", kind, **more)
    config = stacked(pivot, picks, tmp_path / "out")
    assert {key: config[key] for key in expected} == expected
    fused, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    torch.testing.assert_close(logits(fused), logits(AutoModelForCausalLM.from_pretrained(pivot), picks))


def test_a_model_with_images_keeps_its_other_stack(tmp_path):
    from transformers import AutoModelForImageTextToText

    from tests.merge.folders import load

    pivot = gemma3(tmp_path / "pivot")
    config = stacked(pivot, DEEPER, tmp_path / "out")
    assert (config["text_config"]["num_hidden_layers"], config["vision_config"]["num_hidden_layers"]) == (
        6,
        6,
    )
    assert "num_hidden_layers" not in config and "layer_types" not in config
    mine, made = load(pivot), load(tmp_path / "out")
    vision = [name for name in mine if "vision" in name]
    assert len(vision) > 20 and all((mine[name] == made[name]).all() for name in vision)
    fused, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    original = AutoModelForImageTextToText.from_pretrained(pivot)
    torch.testing.assert_close(logits(fused), logits(original, DEEPER))


def moved(config, picks, layers=4, others=None):
    """The config with layers of the pivot, or of another model where ``others`` has one at that place."""
    places = [Pick((others or {}).get(n, config), pick) for n, pick in enumerate(picks)]
    return restacked(config, places, layers, "pivot")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"layer_types": ["a", "b", "c", "d"]}, {"layer_types": ["a", "b", "c", "b", "c", "d"]}),
        ({"layer_types": ["a", "b", "c", "d", "mtp"]}, {"layer_types": ["a", "b", "c", "b", "c", "d", "mtp"]}),
        ({"my_block_list": ["a", "b", "c", "d"]}, {"my_block_list": ["a", "b", "c", "b", "c", "d"]}),
        ({"num_attention_heads_per_layer": [1, 2, 3, 4]}, {"num_attention_heads_per_layer": [1, 2, 3, 2, 3, 4]}),
        ({"hybrid_override_pattern": "M*-M"}, {"hybrid_override_pattern": "M*-*-M"}),
        ({"cross_attention_layers": [0, 2]}, {"cross_attention_layers": [0, 2, 4]}),
        ({"attn_layer_indices": [3]}, {"attn_layer_indices": [5]}),
        ({"dense_layers": [1]}, {"dense_layers": [1, 3]}),
        ({"first_k_dense_replace": 1}, {"first_k_dense_replace": 1}),
        ({"eos_token_id": [1, 2, 3, 4], "rope_scaling": {"short_factor": [1, 2, 3, 4]}}, {"eos_token_id": [1, 2, 3, 4]}),
        ({"max_window_layers": 2, "use_sliding_window": False}, {"max_window_layers": 2}),
        ({"vision_config": {"depth_list": [1, 2, 3, 4]}}, {"vision_config": {"depth_list": [1, 2, 3, 4]}}),
    ],
)  # fmt: skip
def test_settings_of_structures_that_transformers_does_not_know(settings, expected):
    config = {"model_type": "of my own", "num_hidden_layers": 4, **settings}
    made = moved(config, DEEPER)
    assert made["num_hidden_layers"] == 6
    assert {key: made[key] for key in expected} == expected
    inner = moved({"model_type": "of my own", "text_config": {"num_hidden_layers": 4, **settings}}, DEEPER)
    assert "num_hidden_layers" not in inner
    assert {key: inner["text_config"][key] for key in expected} == expected


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"full_attention_interval": 4}, "full_attention_interval: 4"),
        ({"first_k_dense_replace": 2}, "first_k_dense_replace: 2"),
        ({"decoder_sparse_step": 2}, "decoder_sparse_step: 2"),
        ({"expert_layer_period": 2, "layer_types": ["a", "b", "c", "d"]}, "expert_layer_period: 2"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"num_kv_shared_layers": 2}, "num_kv_shared_layers: 2"),
        ({"secret_schedule": [1, 5, 2, 7]}, "secret_schedule"),
        ({"layer_types": ["a", "b", "c"]}, "layer_types"),
        ({"linear_attn_config": {"kda_layers": [1, 2], "full_attn_layers": [3, 4]}}, "linear_attn_config"),
    ],
)
def test_what_cannot_follow_is_named(settings, named):
    config = {"model_type": "of my own", "num_hidden_layers": 4, **settings}
    with pytest.raises(MergeError, match=named):
        moved(config, [0, 1, 2, 0, 1, 3])
    assert moved(config, [0, 1, 2, 3]) == config


def test_rules_are_kept_where_they_still_hold():
    config = {
        "model_type": "of my own",
        "num_hidden_layers": 4,
        "full_attention_interval": 2,
        "moe_layer_end_index": -1,
    }
    assert moved(config, [0, 1, 2, 3, 0, 1, 2, 3]) == {**config, "num_hidden_layers": 8}
    assert moved({**config, "moe_layer_end_index": 3}, [0, 1])["moe_layer_end_index"] == 1


def test_layers_of_another_model_bring_their_own_settings():
    config = {"model_type": "of my own", "num_hidden_layers": 4, "layer_types": list("abcd")}
    other = {**config, "layer_types": list("efgh")}
    assert moved(config, [0, 1, 2, 3], others={1: other, 3: other})["layer_types"] == ["a", "f", "c", "h"]


@pytest.mark.parametrize("kind", ["falcon_h1", "bamba"])
def test_infinity_in_a_config_is_read_as_transformers_writes_it(kind):
    """``time_step_limit`` ends in ``{"__float__": "Infinity"}``, as JSON has no number for it."""
    more = {"attn_layer_indices": [1]} if kind == "bamba" else {}
    made = AutoConfig.for_model(kind, num_hidden_layers=2, hidden_size=32, mamba_n_heads=4, **more)
    config = json.loads(made.to_json_string())
    assert "__float__" in json.dumps(config)
    deeper = restacked(config, [Pick(config, n) for n in (0, 1, 0, 1)], 2, "here")
    assert deeper["num_hidden_layers"] == 4 and deeper["time_step_limit"] == config["time_step_limit"]
    assert as_known(config)["time_step_limit"][1] == float("inf")
