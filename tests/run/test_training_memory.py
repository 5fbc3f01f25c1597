"""The memory of a recipe's trainings."""

import json

import pytest

from fusionchat.distill.footprint import Shape, footprint
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.estimate import parameters, trained_parameters
from fusionchat.run.training_memory import PROCESS, pass_tokens, shape_of, training_memory


def test_a_models_sizes_are_its_configurations(tiny, tmp_path):
    pivot = load_recipe("recipe.yaml").refs()["pivot"]
    config = json.loads((tiny / "input/models/pivot/config.json").read_text())
    assert shape_of(pivot) == Shape.of_config(config, parameters(pivot))
    assert shape_of(ModelRef("x", "org/name", "org/name")) is None
    (tmp_path / "config.json").write_text("{")
    assert shape_of(ModelRef("x", str(tmp_path), str(tmp_path))) is None


def test_a_pass_is_as_long_as_the_longest_conversation_at_least(tiny):
    def tokens(*settings):
        recipe = load_recipe("recipe.yaml", ("corpus.max_tokens=96", *settings))
        return pass_tokens(recipe, recipe.distill)

    assert tokens() == 256 and tokens("runtime.micro_batch_tokens=10") == 96
    assert tokens("distill.batch_size=2") == 192


def test_what_a_process_takes_follows_the_recipe(tiny):
    recipe = load_recipe(
        "recipe.yaml",
        (
            "distill.train={lora: {r: 2}}",
            "runtime.training.strategy=fsdp2",
            "runtime.gradient_checkpointing=true",
        ),
    )
    pivot = recipe.refs()["pivot"]
    expected = footprint(
        shape_of(pivot), recipe.distill, tokens=256, rows=256, trained=trained_parameters(recipe, pivot), ranks=4,
        sharded=True, checkpointing=True, gpu=True,
    )  # fmt: skip
    assert training_memory(recipe, pivot, ranks=4, gpu=True) == pytest.approx(expected.total + PROCESS)
    alone = footprint(
        shape_of(pivot),
        recipe.distill,
        tokens=256,
        rows=256,
        trained=trained_parameters(recipe, pivot),
        checkpointing=True,
    )
    assert training_memory(recipe, pivot) == pytest.approx(alone.total + PROCESS)
    assert training_memory(recipe, ModelRef("x", "org/name", "org/name")) is None
