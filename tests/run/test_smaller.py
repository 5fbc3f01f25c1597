"""What makes a training of 7 billion parameters fit."""

import pytest

from fusionchat.distill.footprint import Shape
from fusionchat.recipe.schema import load_recipe
from fusionchat.run import training_memory
from fusionchat.run.smaller import (
    CHECKPOINTING,
    FSDP2,
    LORA,
    NARROW,
    QLORA,
    changes,
    smaller,
    with_settings,
)

GB = 10**9
MISTRAL = Shape(4096, 4096, 1024, 14336, 32, 32002, False, 7_242_000_000)


@pytest.fixture
def seven(tiny, monkeypatch):
    """Recipes of a pivot with 7 billion parameters."""
    monkeypatch.setattr(training_memory, "shape_of", lambda _ref: MISTRAL)
    monkeypatch.setattr(training_memory, "trained_parameters", lambda *_: None)

    def get(*settings):
        sets = ("corpus.max_tokens=2048", "distill.batch_size=128", "runtime.micro_batch_tokens=2048")
        return load_recipe("recipe.yaml", (*sets, *settings))

    return get


def words(recipe, has, ranks=1):
    return smaller(
        recipe, recipe.refs()["pivot"], recipe.distill, "distill", ranks=ranks, gpu=True, has=has * GB
    )


def test_one_gpu_takes_bf16_weights_or_adapters(seven):
    assert words(seven(), 76).startswith(
        "set runtime.gradient_checkpointing: true and distill.precision: bf16_weights and distill.optim: adamw_bnb_8bit: "
    )
    assert "distill.train: lora" in words(seven(), 46)
    assert "distill.train: qlora" in words(seven(), 20)
    assert words(seven(), 1).startswith("lower corpus.max_tokens (2048) and with it")


def test_shorter_passes_are_tried_first_and_beside_every_other_change(seven):
    recipe = seven("runtime.micro_batch_tokens=16384", "distill.train=qlora")
    own = [way for way, *_ in changes(recipe, recipe.distill, 1)]
    assert own[0] == ("runtime.micro_batch_tokens: 2048",)
    assert own[1:3] == [CHECKPOINTING, (*CHECKPOINTING, "runtime.micro_batch_tokens: 2048")]
    assert words(recipe, 40).startswith("set runtime.micro_batch_tokens: 2048: ")
    assert words(recipe, 1).startswith("lower corpus.max_tokens (2048)")


def test_settings_that_do_not_go_together_are_not_proposed(seven):
    def changed(recipe, way):
        return with_settings(recipe, recipe.distill, way)

    sharded, four_bits = seven("runtime.training.strategy=fsdp2"), seven("distill.train=qlora")
    assert changed(sharded, NARROW) is None and changed(sharded, QLORA) is None
    assert changed(sharded, LORA)[1].train.factors.r == 16
    assert changed(four_bits, FSDP2) is None and changed(four_bits, LORA) is None
    assert changed(four_bits, NARROW) is None and changed(four_bits, QLORA) is None
    assert changed(seven("runtime.gradient_checkpointing=true"), CHECKPOINTING) is None
    factors = seven("distill.train=lora")
    assert changed(factors, LORA) is None and changed(factors, QLORA) is not None
    assert changed(seven(), LORA)[1].train.factors.r == 16
    assert FSDP2 in [way for way, *_ in changes(seven(), seven().distill, 2)]
    assert FSDP2 not in [way for way, *_ in changes(seven(), seven().distill, 1)]
