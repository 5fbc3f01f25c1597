"""What a recipe says is trained: all parameters, or factors."""

import pytest
from pydantic import TypeAdapter, ValidationError

from fusionchat.distill.settings import DistillSettings, TrainingSettings
from fusionchat.distill.trainable import (
    FULL,
    Lora,
    LoraSettings,
    Qlora,
    QloraSettings,
    Trains,
    branch_of,
    from_word,
)


def read(value):
    return TypeAdapter(Trains).validate_python(value)


def test_a_word_or_a_mapping_says_what_is_trained():
    assert read("full") == FULL and read("lora") == Lora() == read({"lora": {}})
    assert read({"lora": {"r": 8}}).lora == LoraSettings(r=8)
    assert read(Lora()) == Lora()
    assert (LoraSettings(r=8).scale, LoraSettings(r=8, alpha=4).scale) == (16.0, 4.0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("loraa", "no way to train 'loraa' .did you mean 'lora'"),
        ({"lara": {}}, "no key 'lara' .did you mean 'lora'"),
        ({"full": {}}, "no key 'full'"),
        ({}, "give one of lora, qlora"),
        ({"lora": {}, "qlora": {}}, "give one of lora, qlora"),
        ({"lora": {"quant_type": "nf4"}}, "quant_type"),
        (5, "should be 'full'"),
        ({"lora": {"r": 0}}, "greater than or equal to 1"),
        ({"lora": {"dropout": 1.0}}, "less than 1"),
    ],
)
def test_another_way_is_refused(value, said):
    with pytest.raises(ValidationError, match=said):
        read(value)


def test_qlora_has_the_factors_and_how_the_matrices_are_quantized():
    found = read({"qlora": {"r": 8, "double_quant": False}})
    assert found == Qlora(qlora=QloraSettings(r=8, double_quant=False)) and found.factors.scale == 16.0
    assert found.quantization == {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": False,
    }  # fmt: skip
    assert read("lora").quantization is None and read("lora").factors == LoraSettings()


def test_the_branch_is_that_of_the_key():
    assert branch_of({"lora": {}}) == branch_of(Lora()) == "LoRA"
    assert branch_of("full") == branch_of(5) == "all parameters"
    assert from_word("lora") == {"lora": {}} and from_word("full") == "full"


def test_full_training_is_not_written_so_that_what_is_done_stays_done():
    assert (
        "train" not in DistillSettings().model_dump() and "train" not in TrainingSettings().model_dump_json()
    )
    assert DistillSettings(train="lora").model_dump()["train"]["lora"]["r"] == 16
    for settings in (DistillSettings(train="lora"), DistillSettings()):
        assert settings.hard().train == settings.soft(0.5).train == settings.train
        assert DistillSettings.model_validate_json(settings.model_dump_json()) == settings
