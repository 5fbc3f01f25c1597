"""What a rehearsal says of a pivot is what transformers and the merge do with it after a training."""

import functools
import json

import pytest
import torch
from safetensors.torch import save_file

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.rehearsal import rehearse
from fusionchat.merge.inputs.structure import structure_of
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream.merge import merge_models
from tests.merge.folders import adapter
from tests.merge.inputs.test_names import PREFIXED, frequencies, gpt2_masks, neox_masks, without
from tests.merge.real import SIZES, configured, real, rewritten, tensors


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of a structure as transformers saves it, made once."""
    root = tmp_path_factory.mktemp("rehearsed")
    return functools.cache(lambda kind, **config: real(root / kind, kind, **config))


def head_only(held):
    return {name.replace("model.embed_tokens", "lm_head"): t for name, t in held.items()}


def published_gpt2(held):
    return without("transformer.")(gpt2_masks(held))


def with_heads(held):
    return held | {
        "score.weight": torch.ones(2, 16),
        "model.layers.2.self_attn.q_proj.weight": torch.ones(16, 16),
    }


def halved(held):
    return {name: t.half() if "norm" not in name else t for name, t in held.items()}


GPT2 = PREFIXED[0][2]
PUBLISHED = [
    ("gpt2", published_gpt2, GPT2, 4),
    ("gpt2", lambda held: held, GPT2, 0),
    ("llama", frequencies, {}, 2),
    ("llama", with_heads, {}, 2),
    ("llama", halved, {}, 0),
    ("gpt_neox", neox_masks, {}, 6),
    ("bloom", without("transformer."), PREFIXED[1][2], 0),
    ("opt", without("model."), PREFIXED[2][2], 0),
    ("gemma", head_only, {"head_dim": 8}, 0),
    ("mixtral", without("model."), {"num_local_experts": 2}, 0),
]


@pytest.mark.parametrize(("kind", "change", "config", "carried"), PUBLISHED)
def test_published_pivots_are_rehearsed_loaded_saved_and_merged(
    saved, tmp_path, kind, change, config, carried
):
    from transformers import AutoModelForCausalLM

    pivot = rewritten(saved(kind, **config), tmp_path / "pivot", change)
    notes = rehearse(pivot)
    said = f"and {carried - 1} more are no parameters" if carried else ""
    assert len(notes) == bool(carried) and all(said in note for note in notes)
    model = AutoModelForCausalLM.from_pretrained(pivot, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    model.save_pretrained(tmp_path / "target")
    structure = structure_of(pivot, {n: tuple(t.shape) for n, t in tensors(pivot).items()}, causal=True)
    theirs = tensors(tmp_path / "target")
    assert dict(structure.saved) == {n: tuple(t.shape) for n, t in theirs.items()}
    report = merge_models(
        pivot, {"t": tmp_path / "target"}, Linear(), tmp_path / "out", dtype="float32", threads=1
    )
    assert len(report.copied) == carried
    fused = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    for mine, other in zip(fused.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
    assert set(tensors(tmp_path / "out")) == set(tensors(pivot))


def less(held, name="model.layers.1.mlp.up_proj.weight"):
    return {n: t for n, t in held.items() if n != name}


def short(held):
    return held | {"model.norm.weight": held["model.norm.weight"][:8]}


def whole_numbers(held):
    return held | {"model.norm.weight": held["model.norm.weight"].to(torch.int8)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            less,
            "lacks tensor model.layers.1.mlp.up_proj.weight: LlamaForCausalLM would start with random values",
        ),
        (lambda held: less(held, "lm_head.weight"), "lacks tensor lm_head.weight"),
        (lambda held: {n: t for n, t in held.items() if ".1." not in n}, "and 8 more"),
        (short, r"model.norm.weight has shape \[8\], but its config asks for \[16\]"),
        (whole_numbers, "stored as I8, which cannot be trained"),
    ],
)
def test_what_could_not_be_merged_later_is_refused_by_name(saved, tmp_path, change, said):
    with pytest.raises(MergeError, match=said):
        rehearse(rewritten(saved("llama"), tmp_path / "pivot", change))


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"quant_method": "mxfp4"}, "mxfp4"), ({"load_in_4bit": True}, "bitsandbytes, 4 bit"), ({"quant_method": "fp8"}, "fp8")],
)  # fmt: skip
def test_quantized_pivots_are_refused_by_name(saved, tmp_path, settings, named):
    folder = rewritten(saved("llama"), tmp_path / "pivot", lambda held: held)
    configured(folder, quantization_config=settings)
    with pytest.raises(MergeError, match=rf"The pivot is quantized \({named}\)"):
        rehearse(folder)


def test_an_adapter_is_no_pivot(saved, tmp_path):
    lora = adapter(tmp_path / "lora", {"base_model.model.x.lora_A.weight": torch.ones(2, 2)})
    with pytest.raises(MergeError, match="adapter, not a model"):
        rehearse(lora)
    with pytest.raises(MergeError, match="adapter, not a model"):
        merge_models(lora, {"t": saved("llama")}, Linear(), tmp_path / "out")


def test_pickles_and_shards_are_rehearsed_as_transformers_opens_them(saved, tmp_path):
    folder = rewritten(saved("llama"), tmp_path / "pivot", frequencies)
    held = tensors(folder)
    (folder / "model.safetensors").unlink()
    torch.save(held, folder / "pytorch_model.bin")
    assert len(rehearse(folder)) == 1
    (folder / "pytorch_model.bin").unlink()
    for n in (0, 1):
        save_file(
            {k: held[k] for k in sorted(held)[n::2]}, folder / f"model-0000{n + 1}-of-00002.safetensors"
        )
    with pytest.raises(MergeError, match="transformers finds no weights"):
        rehearse(folder)
    where = {k: f"model-0000{n + 1}-of-00002.safetensors" for n in (0, 1) for k in sorted(held)[n::2]}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert len(rehearse(folder)) == 1


def test_a_structure_that_transformers_does_not_have_is_said(saved, tmp_path):
    folder = rewritten(saved("llama"), tmp_path / "pivot", lambda held: held)
    assert "was not rehearsed" in rehearse(configured(folder, model_type="nobody-knows"))[0]


TEXT = {**SIZES, "head_dim": 8}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
PICTURES = {
    "qwen3_5": {
        "text_config": TEXT
        | {
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
        "vision_config": {
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
        }
        | {"patch_size": 4, "num_position_embeddings": 16},
    },
    "llama4": {
        "text_config": TEXT | {"num_local_experts": 2, "num_experts_per_tok": 1, "intermediate_size_mlp": 16},
        "vision_config": VISION
        | {
            "num_hidden_layers": 1,
            "vision_output_dim": 16,
            "projector_input_dim": 16,
            "projector_output_dim": 16,
        },
    },
    "llava": {
        "text_config": TEXT | {"model_type": "llama"},
        "vision_config": VISION
        | {"model_type": "clip_vision_model", "num_hidden_layers": 1, "projection_dim": 16},
    },
}


def with_pictures(folder, kind):
    from transformers import AutoConfig, AutoModelForImageTextToText

    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(AutoConfig.for_model(kind, **PICTURES[kind])).save_pretrained(
        folder
    )
    return folder


@pytest.mark.parametrize("kind", ["qwen3_5", "llama4"])
def test_a_model_for_pictures_keeps_them_where_its_language_model_is_trained(tmp_path, kind):
    """transformers trains and saves the language model alone, under another type and other names."""
    from transformers import AutoModelForCausalLM

    pivot = with_pictures(tmp_path / "pivot", kind)
    assert "are no parameters of its structure" in rehearse(pivot)[0]
    model = AutoModelForCausalLM.from_pretrained(pivot, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    model.save_pretrained(tmp_path / "target")
    mine, theirs = tensors(pivot), tensors(tmp_path / "target")
    merge_models(pivot, {"t": tmp_path / "target"}, Linear(), tmp_path / "out", dtype="float32", threads=1)
    result = tensors(tmp_path / "out")
    assert set(result) == set(mine) and len(theirs) < len(mine)
    for name, value in mine.items():
        assert torch.equal(result[name], value) == (
            "vision" in name or "visual" in name or "projector" in name
        ), name
    fused = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    for one, other in zip(fused.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_model_without_a_causal_language_model_is_refused_by_type(tmp_path):
    with pytest.raises(MergeError, match="no causal language model of type llava"):
        rehearse(with_pictures(tmp_path / "pivot", "llava"))
