"""Which numbered parts are the layers, and what lies before and behind them."""

import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.layers.stack import (
    Stack,
    depths,
    find_stack,
    is_before,
    layer_count,
    numbered,
    renumbered,
)


def shapes(**lists):
    """Parameters ``PREFIX.N.w`` of one shape by prefix (with ``__`` for ``.``): number of layers and width."""
    return {
        f"{prefix.replace('__', '.')}.{n}.w": (width, width)
        for prefix, (count, width) in lists.items()
        for n in range(count)
    }


@pytest.mark.parametrize(
    ("lists", "config", "stack"),
    [
        ({"model__layers": (4, 8)}, {"num_hidden_layers": 4}, Stack("model.layers", 4)),
        ({"transformer__h": (4, 8)}, {"n_layer": 4}, Stack("transformer.h", 4)),
        ({"model__layers": (4, 8), "visual__blocks": (6, 8)}, {"num_hidden_layers": 4}, Stack("model.layers", 4)),
        ({"visual__blocks": (4, 6), "lm__layers": (4, 8)},
         {"text_config": {"num_hidden_layers": 4, "hidden_size": 8}, "vision_config": {}}, Stack("lm.layers", 4)),
        ({"visual__blocks": (4, 8), "audio_tower__layers": (4, 8), "lm__layers": (4, 8)},
         {"thinker_config": {"text_config": {"num_hidden_layers": 4, "hidden_size": 8}, "audio_config": {}, "vision_config": {}}},
         Stack("lm.layers", 4)),
        ({"model__layers": (5, 8), "mtp__layers": (1, 8)}, {"num_hidden_layers": 4}, Stack("model.layers", 4)),
        ({"model__layers": (4, 8)}, {}, Stack("model.layers", 4)),
    ],
)  # fmt: skip
def test_the_config_says_which_list_is_the_stack(lists, config, stack):
    assert find_stack(shapes(**lists), config, "x") == stack


@pytest.mark.parametrize(
    ("lists", "config", "words"),
    [
        ({"model__layers": (3, 8)}, {"num_hidden_layers": 4}, r"num_hidden_layers: 4, but .* model.layers \(3\)"),
        ({"a__layers": (4, 8), "b__layers": (4, 8)}, {"num_hidden_layers": 4}, "a.layers and b.layers both"),
        ({"a__layers": (4, 8), "b__layers": (3, 8)}, {}, "does not say how many layers"),
        ({"encoder__block": (4, 8), "decoder__block": (4, 8)}, {"num_layers": 4, "is_encoder_decoder": True}, "two stacks"),
    ],
)  # fmt: skip
def test_a_stack_that_cannot_be_told_is_refused(lists, config, words):
    with pytest.raises(MergeError, match=words):
        find_stack(shapes(**lists), config, "x")


def test_names_of_the_number_of_layers():
    assert layer_count({"model_type": "gpt2", "n_layer": 3}) == ("n_layer", 3)
    assert layer_count({"text_config": {"num_hidden_layers": 5}, "num_hidden_layers": 9}) == (
        "num_hidden_layers",
        5,
    )
    assert layer_count({"model_type": "of my own"}) is None
    assert numbered(["a.0.b.3.w", "a.2.w", "c.w"]) == {"a": {0, 2}}
    assert renumbered("h.11.mlp.3.w", 2) == "h.2.mlp.3.w"


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("model.embed_tokens.weight", True), ("gpt_neox.embed_in.weight", True), ("transformer.wpe.weight", True),
        ("transformer.word_embeddings_layernorm.weight", True), ("model.tok_embeddings.weight", True),
        ("backbone.embeddings.weight", True), ("model.decoder.embed_positions.weight", True),
        ("embed_out.weight", False), ("lm_head.weight", False), ("output.weight", False), ("model.norm.weight", False),
        ("transformer.output_layer.weight", False), ("transformer.ln_f.bias", False), ("model.output_embeddings.weight", False),
    ],
)  # fmt: skip
def test_what_lies_before_the_layers(name, before):
    assert is_before(name) == before


def test_depths_run_along_each_list():
    names = [*shapes(model__layers=(6, 8), visual__blocks=(3, 8)), "model.embed.weight", "lm_head.weight"]
    found = depths(names, Stack("model.layers", 5))
    assert [found[f"model.layers.{n}.w"] for n in (0, 2, 4, 5)] == [(0, 0), (2, 0.5), (4, 1), (None, 1)]
    assert [found[f"visual.blocks.{n}.w"] for n in range(3)] == [(None, 0), (None, 0.5), (None, 1)]
    assert (found["model.embed.weight"], found["lm_head.weight"]) == ((None, 0), (None, 1))
