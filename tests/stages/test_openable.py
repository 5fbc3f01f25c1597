"""What can be known of a model before anything is run."""

import json

import pytest
import torch

from fusionchat.errors import ModelError
from fusionchat.models.opening import PLAIN, Opening
from fusionchat.models.ref import ModelRef
from fusionchat.stages.openable import require_fitting, require_openable
from tests.merge.folders import adapter, family


@pytest.fixture
def model(tmp_path):
    return family(tmp_path, 0)[0]


def factors(inputs=16):
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_"
    return {f"{name}A.weight": torch.ones(2, inputs), f"{name}B.weight": torch.ones(40, 2)}


def test_a_plain_folder_is_openable(model):
    require_openable(ModelRef("pivot", str(model), str(model)), PLAIN)


@pytest.mark.parametrize(("name", "where"), [("pivot", "pivot"), ("a", "sources.a")])
def test_an_unknown_quantization_is_named_by_its_place(model, name, where):
    with pytest.raises(ModelError, match="no quantization method 'nf5'") as caught:
        require_openable(
            ModelRef(name, str(model), str(model)), Opening(quantization={"quant_method": "nf5"})
        )
    assert caught.value.where == f"{where}.capture.quantization"


def test_a_quantized_pivot_that_cannot_be_unpacked_is_refused_and_a_source_is_not(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    )
    require_openable(ModelRef("a", str(model), str(model)), PLAIN)
    with pytest.raises(ModelError, match="quantized with gptq 4 bit"):
        require_openable(ModelRef("pivot", str(model), str(model)), PLAIN)


def test_own_code_of_the_hub_is_pinned(model):
    with pytest.raises(ModelError, match="trust_remote_code runs Python files of o/m"):
        require_openable(ModelRef("a", "o/m", "o/m", own_code=True), PLAIN)


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"not GGUF")
    with pytest.raises(ModelError):
        require_openable(ModelRef("a", str(tmp_path / "m.gguf"), str(tmp_path)), PLAIN)


def test_an_adapter_s_shapes_are_the_model_s(model, tmp_path):
    fits, other = adapter(tmp_path / "a", factors()), adapter(tmp_path / "b", factors(inputs=17))
    require_fitting(ModelRef("a", str(model), str(model), adapter=str(fits)))
    with pytest.raises(ModelError, match="The adapter of 'a' does not fit its model: "):
        require_fitting(ModelRef("a", str(model), str(model), adapter=str(other)))
    require_fitting(ModelRef("a", "o/m", "o/m", adapter=str(other)))  # the model is not here
