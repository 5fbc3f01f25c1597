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
from tests.merge.real import configured, rewritten

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


def without(*ends):
    return lambda held: {n: t for n, t in held.items() if not n.endswith(ends)}


def one_more(part, number):
    """A numbered part once more, under the next number."""
    mine, new = f"{part}.{number}.", f"{part}.{number + 1}."
    return lambda held: held | {n.replace(mine, new): t for n, t in held.items() if mine in n}


def one_less(part, number):
    return lambda held: {n: t for n, t in held.items() if f"{part}.{number}." not in n}


def renamed(old, new):
    return lambda held: {n.replace(old, new): t for n, t in held.items()}


SPARSE = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 64}
MISFITS = {
    "no norm at the end": ("llama", {}, without("model.norm.weight"), {}, r"model\.norm\.weight is missing"),
    "no norm of a layer": (
        "llama", {}, without("layers.2.input_layernorm.weight"), {}, r"layers\.2\.input_layernorm.*missing"
    ),
    "no norms of queries": ("qwen3", {"head_dim": 8}, without("q_norm.weight"), {}, r"q_norm\.weight is missing"),
    "no biases": ("qwen2", {}, without("k_proj.bias"), {}, r"k_proj\.bias is missing"),
    "no head": ("mistral", {}, without("lm_head.weight"), {}, "there is no separate head"),
    "a layer more": ("llama", {}, one_more("layers", 3), {}, r"it has no model\.layers\.4\..* \(and 8 more\)"),
    "a layer less": ("llama", {}, one_less("layers", 3), {}, "it says 4 layers, the weights have 3"),
    "a layer less in the middle": ("gemma2", {"head_dim": 8}, one_less("layers", 1), {}, "it says 4 layers"),
    "another width": ("llama", {}, dict, {"intermediate_size": 40}, r"shape \[48, 32\], not \[40, 32\]|shape \[32, 48\]"),
    "other heads": ("llama", {}, dict, {"num_key_value_heads": 4}, r"k_proj\.weight has shape \[16, 32\], not \[32, 32\]"),
    "a head width": ("qwen3", {"head_dim": 8}, dict, {"head_dim": 16}, "has shape"),
    "types of other layers": (
        "qwen3", {"head_dim": 8}, dict, {"layer_types": ["full_attention"] * 5}, r"does not open it: .*layer"
    ),
    "an activation that nobody has": ("mistral", {}, dict, {"hidden_act": "mine"}, "does not open it"),
    "no width": ("llama", {}, dict, {"hidden_size": None}, "has shape|does not open"),
    "heads that do not divide": ("llama", {}, dict, {"num_attention_heads": 5}, "does not open it"),
    "more experts than stored": ("qwen3_moe", SPARSE, dict, {"num_local_experts": 4}, r"has shape \[3, "),
    "fewer experts than stored": ("qwen3_moe", SPARSE, dict, {"num_local_experts": 2}, r"has shape \[3, "),
    "an expert more": ("mixtral", {"num_local_experts": 2}, one_more("experts", 1), {}, r"has shape \[3, "),
    "part of an expert": (
        "mixtral", {"num_local_experts": 2}, without("layers.1.block_sparse_moe.experts.1.w1.weight"), {}, "conversion"
    ),
    "another kind of layer": ("llama", {}, renamed("mlp.up_proj", "mlp.w3"), {}, r"up_proj\.weight is missing"),
    "a layer of GPT-2": ("gpt2", GPT2, without("h.1.ln_2.bias"), {}, r"ln_2\.bias is missing"),
    "rows of GPT-2": ("gpt2", GPT2, dict, {"vocab_size": 60}, "vocab_size 60"),
    "positions of GPT-2": ("gpt2", GPT2, dict, {"n_positions": 60}, r"wpe\.weight has shape \[128, 32\], not \[60, 32\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_a_folder_that_transformers_does_not_open_whole_is_not_written(tmp_path, case):
    kind, sizes, change, settings, words = MISFITS[case]
    sizes = {"pad_token_id": None, **sizes} if kind == "gpt2" else sizes
    pivot = configured(
        rewritten(model(tmp_path / "whole", kind, **sizes), tmp_path / "pivot", change), **settings
    )
    with pytest.raises(MergeError, match=words) as caught:
        merge_models(pivot, {"t": pivot}, Linear(), tmp_path / "out", threads=1)
    assert caught.value.exit_code == 2 and caught.value.where == str(pivot)
    assert not (tmp_path / "out").exists()


UNCHECKED = {
    "unknown": ({"model_type": "homemade"}, "does not know its structure (homemade)"),
    "none named": ({"model_type": None}, "no model_type"),
    "own code": ({"model_type": "homemade", "auto_map": {"AutoConfig": "mine.Config"}}, "(auto_map)"),
    "own code under a known name": (
        {"auto_map": {"AutoModelForCausalLM": "mine.Model"}, "intermediate_size": 40}, "for transformers' own class, "
    ),
    "no sizes": ({key: None for key in ("hidden_size", "num_attention_heads")}, "lacks its sizes"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNCHECKED)
def test_what_cannot_be_checked_is_said(llama, tmp_path, capsys, case):
    changes, words = UNCHECKED[case]
    pivot = shutil.copytree(llama, tmp_path / "pivot")
    config = json.loads((pivot / "config.json").read_text()) | changes
    held = {key: value for key, value in config.items() if value is not None}
    (pivot / "config.json").write_text(json.dumps(held))
    merge_models(pivot, {"t": pivot}, Linear(), tmp_path / "out", threads=1)
    assert words in " ".join(capsys.readouterr().err.split())
