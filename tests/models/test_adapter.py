"""Adapters merged into their base, and those of another."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fusionchat.errors import ModelError
from fusionchat.models.adapter import base_of, ref_of, require_base, trained_module, with_adapter
from fusionchat.models.base import write_base
from fusionchat.models.identity import identity
from fusionchat.models.opening import Opening
from fusionchat.models.ref import ModelRef
from fusionchat.stages.openable import require_openable
from tests.models.placed import logits, opened, ref
from tests.small import save_adapter


def test_an_adapter_is_merged_and_part_of_the_identity(small, tmp_path):
    adapted = save_adapter(tmp_path / "a", small / "m")
    one = ref(small / "m", adapter=str(tmp_path / "a"))
    model = opened(one)
    assert type(model).__name__ == "Qwen2ForCausalLM"
    assert torch.allclose(logits(model), logits(adapted), atol=1e-4)
    assert not torch.allclose(logits(model), logits(opened(ref(small / "m"))), atol=0.05)
    assert base_of(one.adapter_place) == str(small / "m")
    before = identity(one)
    assert before != identity(ref(small / "m"))
    (tmp_path / "a/adapter_config.json").write_text((tmp_path / "a/adapter_config.json").read_text() + " ")
    assert identity(one) != before
    eight = opened(one, Opening(quantization={"quant_method": "bitsandbytes_8bit"}))
    assert torch.allclose(logits(eight), logits(adapted), atol=0.1 * float(logits(adapted).abs().max()))


def test_an_adapter_of_another_base_is_refused(small, tiny_input, tmp_path):
    save_adapter(tmp_path / "a", small / "m")
    other = ref(tiny_input / "models/qwen", adapter=str(tmp_path / "a"))
    for check in (lambda: require_openable(other, Opening()), lambda: opened(other)):
        with pytest.raises(ModelError, match="The adapter of 'qwen' does not fit its model"):
            check()
    require_openable(ref(small / "m", adapter=str(tmp_path / "a")), Opening())
    config = tmp_path / "a/adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "org/Base"}))
    with pytest.raises(ModelError, match="was trained on org/Base, and its model is org/other"):
        require_base(ModelRef("s", "org/other", "org/other", adapter=str(tmp_path / "a")))
    require_base(ModelRef("s", "org/base", "org/base", adapter=str(tmp_path / "a")))
    with pytest.raises(ModelError, match="holds no adapter"):
        require_base(ref(small / "m", adapter=str(small / "m")))


def test_an_adapter_that_does_not_say_its_base_has_none(tmp_path):
    one = ref(tmp_path, adapter=str(tmp_path))
    for held, base in (
        ({}, ""),
        ({"base_model_name_or_path": None}, ""),
        ({"base_model_name_or_path": "o/b"}, "o/b"),
    ):
        (tmp_path / "adapter_config.json").write_text(json.dumps(held))
        assert base_of(one.adapter_place) == base
    (tmp_path / "adapter_config.json").write_text("[")
    with pytest.raises(ModelError, match=r"adapter_config\.json cannot be read"):
        base_of(one.adapter_place)


def test_an_adapters_folder_is_its_base_with_the_adapter(small, tmp_path):
    save_adapter(tmp_path / "a", small / "m")
    assert ref_of("x", str(small / "m")) == ModelRef("x", str(small / "m"), str(small / "m"))
    found = ref_of("x", str(tmp_path / "a"))
    assert (found.model, found.tokenizer, found.adapter) == (
        str(small / "m"),
        str(small / "m"),
        str(tmp_path / "a"),
    )
    (tmp_path / "a/tokenizer.json").write_text("{}")
    assert ref_of("x", str(tmp_path / "a")).tokenizer == str(tmp_path / "a")
    write_base(tmp_path / "a", found.place)
    require_base(found)
    config = tmp_path / "a/adapter_config.json"
    held = json.loads(config.read_text())
    config.write_text(json.dumps(held | {"base_model_name_or_path": "./gone"}))
    with pytest.raises(ModelError, match="no such model folder"):
        ref_of("x", str(tmp_path / "a"))
    config.write_text(json.dumps(held | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="does not name the model"):
        ref_of("x", str(tmp_path / "a"))


def test_an_adapter_with_a_record_is_refused_on_other_weights(small, tmp_path):
    save_adapter(tmp_path / "a", small / "m")
    other = shutil.copytree(small / "m", tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: 2 * value for name, value in weights.items()}, other / "model.safetensors")
    require_base(ref(other, adapter=str(tmp_path / "a")))
    write_base(tmp_path / "a", ref(small / "m").place)
    with pytest.raises(ModelError, match="has other weights"):
        opened(ref(other, adapter=str(tmp_path / "a")))


def test_the_copy_that_is_trained_whole_is_the_module(small):
    from peft import LoraConfig, get_peft_model

    model = opened(ref(small / "m"))
    head = model.get_output_embeddings()
    assert trained_module(head) is head
    get_peft_model(model, LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"]))
    wrapper = model.get_output_embeddings()
    assert wrapper is not head and trained_module(wrapper) is wrapper.modules_to_save["default"]


def test_without_an_adapter_a_model_stays_as_it_is(tmp_path):
    model = torch.nn.Linear(1, 1)
    assert with_adapter(ref(tmp_path), model, merged=True) is model
