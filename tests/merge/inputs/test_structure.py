"""What transformers knows of a model's tensors, asked of tiny structures."""

import dataclasses
import json

import pytest

from fusionchat.merge.inputs.structure import (
    Structure,
    Unopened,
    is_known_buffer,
    is_plain,
    opened_with,
    opens_as_causal,
    structure_of,
    structure_with,
)
from tests.merge.models import SIZE

LLAMA = {"model_type": "llama", **SIZE, "num_hidden_layers": 1, "tie_word_embeddings": False}
LAYER = "model.layers.0."
SHAPES = {
    "model.embed_tokens.weight": (64, 32),
    LAYER + "self_attn.q_proj.weight": (32, 32),
    LAYER + "self_attn.k_proj.weight": (16, 32),
    LAYER + "self_attn.v_proj.weight": (16, 32),
    LAYER + "self_attn.o_proj.weight": (32, 32),
    LAYER + "mlp.gate_proj.weight": (48, 32),
    LAYER + "mlp.up_proj.weight": (48, 32),
    LAYER + "mlp.down_proj.weight": (32, 48),
    LAYER + "input_layernorm.weight": (32,),
    LAYER + "post_attention_layernorm.weight": (32,),
    "model.norm.weight": (32,),
    "lm_head.weight": (64, 32),
}


@pytest.mark.parametrize(
    ("name", "shape", "plain", "buffer"),
    [
        ("h.0.attn.c_attn.weight", (4, 4), True, False),
        ("h.0.attn.c_attn.bias", (12,), True, False),
        ("h.0.attn.bias", (1, 1, 8, 8), False, True),
        ("h.0.attn.bias", (1, 8, 8), False, False),
        ("h.0.attn.bias", (1, 1, 8, 9), False, False),
        ("rotary_emb.inv_freq", (4,), False, True),
        ("h.0.scale.weight", (), False, False),
        ("embeddings.position_ids", (1, 8), False, True),
        ("alpha", (3,), False, False),
    ],
)
def test_names_and_shapes_that_decide_alone(name, shape, plain, buffer):
    assert (is_plain(name, shape), is_known_buffer(name, shape)) == (plain, buffer)


def made(**more):
    """A structure with one weight, two buffers (one is saved), and what it leaves out."""
    values = {
        "kind": "X", "missing": (), "misshapen": (), "parameters": frozenset(["w.weight", "e.state"]),
        "buffers": frozenset(["e.state", "r.inv_freq"]), "saved": {}, "canonical": lambda name: name.removeprefix("old."),
        "ignored": (r"\.extra$",), "unused": (), "transposed": frozenset(),
    }  # fmt: skip
    return Structure(**{**values, **more})


def test_a_structure_fits_where_nothing_is_missing_or_of_another_shape():
    assert made().fits
    assert not made(missing=("w",)).fits and not made(misshapen=(("w", (1,), (2,)),)).fits


@pytest.mark.parametrize(
    ("name", "has", "is_buffer", "is_state"),
    [
        ("old.w.weight", True, False, False),
        ("e.state", True, True, True),
        ("old.r.inv_freq", False, True, False),
        ("elsewhere.inv_freq", False, True, False),  # no parameter ends so
        ("elsewhere.weight", False, False, False),
        ("elsewhere.extra", False, False, False),
        ("gone.state", False, False, False),
    ],
)
def test_what_a_stored_tensor_is(name, has, is_buffer, is_state):
    structure = made()
    assert (structure.has(name), structure.is_state(name)) == (has, is_state)
    assert structure.is_buffer(name) == (is_buffer or name in ("gone.state",))


def test_what_is_left_out_on_purpose_is_a_buffer_unless_it_is_a_weight():
    """Where parameters end so, the end of the name does not tell."""
    structure = made(parameters=frozenset(["w.weight", "w.extra"]), ignored=(r"^gone\.",))
    assert structure.is_buffer("gone.extra") and not structure.is_buffer("kept.extra")
    assert not structure.is_buffer("gone.weight")


def test_a_stored_part_of_a_parameter_has_a_place():
    structure = made(canonical=lambda name: f"w.weight < {name}")
    assert structure.has("experts.0.weight")


def test_transformers_says_what_it_makes_of_a_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    shapes = {**SHAPES, "model.layers.0.self_attn.rotary_emb.inv_freq": (4,), "other.weight": (3,)}
    found = structure_of(tmp_path, shapes)
    assert (found.kind, found.missing, found.misshapen) == ("LlamaForCausalLM", (), ())
    assert found.fits and found.parameters == SHAPES.keys() and found.saved == SHAPES
    assert found.unused == ("other.weight",)
    assert found.is_buffer("model.layers.0.self_attn.rotary_emb.inv_freq") and not found.has("other.weight")
    assert found.canonical("layers.0.mlp.up_proj.weight") == LAYER + "mlp.up_proj.weight"


def test_what_is_missing_or_of_another_shape_is_named():
    shapes = {**SHAPES, "model.norm.weight": (31,)}
    del shapes["lm_head.weight"]
    found = structure_with(LLAMA, shapes)
    assert found.missing == ("lm_head.weight",)
    assert found.misshapen == (("model.norm.weight", (31,), (32,)),)


def test_a_tied_head_has_the_embedding_s_name():
    shapes = {name: shape for name, shape in SHAPES.items() if name != "lm_head.weight"}
    found = structure_with({**LLAMA, "tie_word_embeddings": True}, shapes)
    assert found.fits and found.canonical("lm_head.weight") == "model.embed_tokens.weight"


def test_where_transformers_knows_nothing_there_is_none(tmp_path):
    assert structure_of(tmp_path, SHAPES) is None  # no config
    (tmp_path / "config.json").write_text('{"model_type": "of my own"}')
    assert structure_of(tmp_path, SHAPES) is None and opens_as_causal(tmp_path)
    assert structure_with({"model_type": "of my own"}, SHAPES) is None
    assert opened_with({"model_type": "of my own"}, SHAPES) is None


def test_what_opens_as_a_causal_language_model(tmp_path):
    for model_type, expected in (("llama", True), ("vit", False)):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        assert opens_as_causal(tmp_path) == expected


def test_the_last_check_says_what_transformers_says():
    assert opened_with(LLAMA, SHAPES).fits
    with pytest.raises(Unopened, match="hidden_size"):
        opened_with({**LLAMA, "hidden_size": "wide"}, SHAPES)
    assert dataclasses.is_dataclass(Structure)
