"""Full models as targets: heads of their own, buffers that are the models' own, names that training tools put words into."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from fusionchat.errors import MergeError
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.passthrough import LayerRange, Passthrough
from fusionchat.merge.stream.merge import merge_models
from tests.merge.real import configured, nudged, real, rewritten, tensors

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def opened(folder):
    """A model and what loading says was odd."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    return model, {key for key, value in info.items() if value}


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    return real(tmp_path_factory.mktemp("tied") / "a", "llama", tie_word_embeddings=True)


def with_own_head(source, folder, *, says=False):
    torch.manual_seed(5)
    made = rewritten(source, folder, lambda held: held | {HEAD: held[EMBEDDING] + torch.randn(96, 16)})
    return configured(made, tie_word_embeddings=says)


@pytest.mark.parametrize("says", [False, True])
def test_a_target_with_a_head_of_its_own_gives_one_to_a_tied_pivot(tied, tmp_path, says):
    """mergekit 464: the pivot's head is its embedding. transformers does not tie two that are stored and differ."""
    target, other = with_own_head(tied, tmp_path / "t", says=says), nudged(tied, tmp_path / "u")
    merge_models(tied, {"t": target, "u": other}, Linear(), tmp_path / "out", dtype="float32", threads=1)
    model, odd = opened(tmp_path / "out")
    assert not odd and model.config.tie_word_embeddings is False
    torch.testing.assert_close(
        model.lm_head.weight.data, (tensors(target)[HEAD] + tensors(other)[EMBEDDING]) / 2
    )
    torch.testing.assert_close(
        model.model.embed_tokens.weight.data, (tensors(target)[EMBEDDING] + tensors(other)[EMBEDDING]) / 2
    )


def test_a_pivot_that_stores_its_tied_head_too_is_parted(tied, tmp_path):
    both = rewritten(tied, tmp_path / "both", lambda held: held | {HEAD: held[EMBEDDING]})
    target = with_own_head(tied, tmp_path / "t")
    merge_models(both, {"t": target}, TaskArithmetic(scale=0.5), tmp_path / "out", dtype="float32", threads=1)
    model, odd = opened(tmp_path / "out")
    right = (tensors(tied)[EMBEDDING] + tensors(target)[HEAD]) / 2
    assert not odd
    torch.testing.assert_close(model.lm_head.weight.data, right)


def test_heads_that_are_the_embedding_stay_tied(tied, tmp_path):
    """Granite stores both: nothing is parted, whichever of the models does so."""
    both = rewritten(
        nudged(tied, tmp_path / "t"), tmp_path / "both", lambda held: held | {HEAD: held[EMBEDDING]}
    )
    merge_models(tied, {"t": both}, Linear(), tmp_path / "out", dtype="float32", threads=1)
    assert HEAD not in tensors(tmp_path / "out")
    model, odd = opened(tmp_path / "out")
    assert not odd and model.lm_head.weight is model.model.embed_tokens.weight


EXPERTS = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "kv_lora_rank": 4, "q_lora_rank": 4,
    "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4, "first_k_dense_replace": 1, "n_group": 1,
    "topk_group": 1,
}  # fmt: skip
BIAS = "model.layers.1.mlp.gate.e_score_correction_bias"


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    """DeepSeek-V3: the bias that balances experts is a buffer, but each model has its own."""
    return real(tmp_path_factory.mktemp("routed") / "a", "deepseek_v3", **EXPERTS)


def test_buffers_that_are_the_models_own_are_merged_and_stay_float32(routed, tmp_path):
    target = nudged(routed, tmp_path / "t")
    report = merge_models(routed, {"t": target}, TaskArithmetic(scale=0.5), tmp_path / "out", threads=1)
    made = tensors(tmp_path / "out")
    right = (tensors(routed)[BIAS] + tensors(target)[BIAS]) / 2
    assert report.copied == [] and made[EMBEDDING].dtype == torch.bfloat16
    assert made[BIAS].dtype == torch.float32
    torch.testing.assert_close(made[BIAS], right)
    assert not opened(tmp_path / "out")[1]


def test_slices_bring_their_own_buffers(routed, tmp_path):
    target = nudged(routed, tmp_path / "t")
    method = Passthrough(
        slices=(LayerRange("pivot", (0, 1)), LayerRange("t", (1, 2)), LayerRange("t", (1, 2)))
    )
    merge_models(routed, {"t": target}, method, tmp_path / "out", threads=1)
    made = tensors(tmp_path / "out")
    for layer in (1, 2):
        assert torch.equal(made[BIAS.replace("layers.1", f"layers.{layer}")], tensors(target)[BIAS])


def test_buffers_that_differ_by_rounding_alone_are_copied(routed, tmp_path):
    pivot = rewritten(routed, tmp_path / "p", lambda held: held | {BIAS: torch.linspace(0.1, 0.7, 4)})
    target = rewritten(pivot, tmp_path / "t", lambda held: {n: t.bfloat16() for n, t in held.items()})
    report = merge_models(pivot, {"t": target}, Linear(), tmp_path / "out", threads=1)
    assert report.copied == [BIAS]
    assert torch.equal(tensors(tmp_path / "out")[BIAS], torch.linspace(0.1, 0.7, 4))


WRAPPED = [
    lambda name: f"_orig_mod.{name}",
    lambda name: f"module.{name}",
    lambda name: f"module._orig_mod.{name}",
    lambda name: name.replace("layers.0.", "layers.0._checkpoint_wrapped_module."),
]


@pytest.mark.parametrize("wrap", WRAPPED)
def test_names_lose_what_training_tools_put_into_them(tied, tmp_path, wrap):
    wrapped = rewritten(tied, tmp_path / "w", lambda held: {wrap(name): t for name, t in held.items()})
    target = nudged(tied, tmp_path / "t")
    merge_models(wrapped, {"t": target}, Linear(), tmp_path / "out", dtype="float32", threads=1)
    assert not opened(tmp_path / "out")[1]
    merge_models(tied, {"w": wrapped}, Linear(), tmp_path / "back", dtype="float32", threads=1)
    for name, value in tensors(tmp_path / "back").items():
        torch.testing.assert_close(value, tensors(tied)[name])


def test_a_head_that_nobody_has_is_said(tied, tmp_path):
    """The config says that the head is no embedding, and there is none: loading would make one up."""
    pivot = configured(rewritten(tied, tmp_path / "p", dict), tie_word_embeddings=False)
    with pytest.raises(MergeError, match="tie_word_embeddings: false, but there is no separate head"):
        merge_models(pivot, {"t": pivot}, Linear(), tmp_path / "out", threads=1)


def test_a_quantization_that_the_weights_no_longer_have_is_taken_out_of_the_config(tied, tmp_path):
    """As where a model was dequantized and its config kept: opening the fused model would quantize it."""
    stale = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    pivot = configured(
        rewritten(tied, tmp_path / "p", dict), quantization_config=stale, torch_dtype="float16"
    )
    merge_models(pivot, {"t": nudged(tied, tmp_path / "t")}, Linear(), tmp_path / "out", threads=1)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert not {"quantization_config", "torch_dtype"} & config.keys() and config["dtype"] == "bfloat16"
    assert not opened(tmp_path / "out")[1]


def test_a_plain_merge_loads_neither_torch_nor_transformers(tied, tmp_path):
    """Of a tied pivot, too: they take two seconds and 230 MB."""
    target = nudged(tied, tmp_path / "t")
    code = (
        "import sys; from pathlib import Path; from fusionchat.merge.methods import METHODS\n"
        "from fusionchat.merge.stream.merge import merge_models\n"
        "merge_models(Path(sys.argv[1]), {'t': Path(sys.argv[2])}, METHODS['varm'](), Path(sys.argv[3]))\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tied), str(target), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
