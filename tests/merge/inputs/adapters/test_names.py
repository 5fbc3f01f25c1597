"""An adapter's names are brought to the pivot's where wrappers differ, and to nothing where that leaves a choice."""

import pytest

from fusionchat.merge.inputs.adapters.names import Names

TEXT = [
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.1.self_attn.q_proj.weight",
    "model.norm.weight",
]
GPT2 = ["h.0.attn.c_attn.weight", "h.0.attn.c_attn.bias", "wte.weight", "ln_f.weight"]
PICTURES = [
    "model.language_model.layers.0.self_attn.q_proj.weight",
    "model.language_model.embed_tokens.weight",
    "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
    "model.vision_tower.vision_model.embeddings.weight",
    "lm_head.weight",
]


@pytest.mark.parametrize(
    ("held", "name", "found"),
    [
        (TEXT, TEXT[0], TEXT[0]),
        (TEXT, "layers.1.self_attn.q_proj.weight", TEXT[1]),
        (TEXT, "language_model.model.layers.1.self_attn.q_proj.weight", TEXT[1]),
        (TEXT, "model.layers.9.self_attn.q_proj.weight", None),
        (TEXT, "model.layers.0.self_attn.k_proj.weight", None),
        (TEXT, "model.blocks.0.self_attn.q_proj.weight", None),
        (TEXT, "norm.weight", TEXT[2]),
        (TEXT, "model.score.weight", None),
        (GPT2, "transformer.h.0.attn.c_attn.weight", GPT2[0]),
        (GPT2, "transformer.h.0.attn.c_attn.bias", GPT2[1]),
        (GPT2, "transformer.wte.weight", GPT2[2]),
        (PICTURES, "model.layers.0.self_attn.q_proj.weight", PICTURES[0]),
        (PICTURES, "language_model.model.layers.0.self_attn.q_proj.weight", PICTURES[0]),
        (PICTURES, "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight", PICTURES[2]),
        (PICTURES, "language_model.model.embed_tokens.weight", PICTURES[1]),
        (PICTURES, "language_model.lm_head.weight", PICTURES[4]),
        (["a.layers.0.q.weight", "b.layers.0.q.weight"], "layers.0.q.weight", None),
    ],
)
def test_names_meet_from_the_layers_on(held, name, found):
    assert Names(held).find(name) == found
