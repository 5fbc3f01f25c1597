"""The language model's part of a config, wherever it is."""

import math

import pytest

from fusionchat.merge.inputs.textmodel import (
    as_known,
    config_object,
    is_known,
    made_of,
    text_of,
    text_path,
    with_text,
)

INNER = {"num_hidden_layers": 4, "vocab_size": 10}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (INNER, ()),
        ({"text_config": INNER}, ("text_config",)),
        ({"thinker_config": {"text_config": INNER, "audio_config": {}}}, ("thinker_config", "text_config")),
        ({"vision_config": {}, "llm_config": INNER}, ("llm_config",)),
        ({"text_config": None, **INNER}, ()),
    ],
)
def test_where_the_language_model_s_settings_are(config, path):
    assert text_path(config) == path
    assert {key: text_of(config)[key] for key in INNER} == INNER


def test_changes_go_to_the_language_model_s_part():
    config = {"a": 1, "thinker_config": {"b": 2, "text_config": INNER}}
    changed = with_text(config, {"vocab_size": 12})
    assert changed == {"a": 1, "thinker_config": {"b": 2, "text_config": {**INNER, "vocab_size": 12}}}
    assert config["thinker_config"]["text_config"] == INNER
    assert with_text(INNER, {"vocab_size": 12}) == {**INNER, "vocab_size": 12}


def test_the_top_follows_where_it_repeats_the_value():
    config = {"vocab_size": 10, "num_hidden_layers": 9, "text_config": INNER}
    assert with_text(config, {"vocab_size": 12, "num_hidden_layers": 5}) == {
        "vocab_size": 12,
        "num_hidden_layers": 9,
        "text_config": {"vocab_size": 12, "num_hidden_layers": 5},
    }


def test_transformers_completes_what_a_config_leaves_out():
    known = as_known({"model_type": "llama", "num_hidden_layers": 3})
    assert known["num_hidden_layers"] == 3 and known["vocab_size"] == 32000
    assert config_object({"model_type": "llama"}).hidden_act == "silu"


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "of my own"},
        {"num_hidden_layers": 3},
        {"model_type": "llama", "auto_map": {"AutoConfig": "mine.Config"}},
        {"model_type": "llama", "hidden_size": "wide"},
    ],
)
def test_what_transformers_does_not_know_or_take_is_none(config):
    assert as_known(config) is None
    assert is_known(config) == (config.get("model_type") == "llama")


def test_numbers_that_json_lacks_are_decoded():
    limits = [{"__float__": "-Infinity"}, {"__float__": "Infinity"}, {"x": {"__float__": "NaN"}}]
    made = made_of({"model_type": "llama", "mine": limits})
    assert made.mine[:2] == [-math.inf, math.inf] and math.isnan(made.mine[2]["x"])
