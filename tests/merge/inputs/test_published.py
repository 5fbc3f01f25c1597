"""Folders that are no pivot: adapters and quantized models, by the name of the method."""

import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.merge.inputs.published import quantization, refuse_adapter, refuse_as_pivot, refuse_quantized
from tests.merge.folders import adapter, save

FLOATS = {"w.weight": torch.ones(2, 4)}


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({}, None),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"quantization_config": {"load_in_4bit": True}}, "bitsandbytes, 4 bit"),
        ({"quantization_config": {"load_in_8bit": True, "load_in_4bit": False}}, "bitsandbytes, 8 bit"),
        ({"quantization_config": {"bits": 3}}, "unnamed"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "fp8"),
        ({"text_config": {}, "quantization_config": {"quant_method": "awq"}}, "awq"),
    ],
)
def test_the_name_of_a_quantization(config, name):
    assert quantization(config) == name


def test_an_adapter_is_no_pivot(tmp_path):
    folder = adapter(tmp_path / "lora", {"base_model.model.w.lora_A.weight": torch.ones(2, 4)})
    with pytest.raises(MergeError, match="The pivot is an adapter"):
        refuse_adapter(folder)
    refuse_adapter(save(tmp_path / "model", FLOATS))


@pytest.mark.parametrize(
    ("tensors", "config", "words"),
    [
        ({"w.weight": torch.ones(2, 4).to(torch.float8_e4m3fn)}, {}, "quantized: tensor w.weight is stored as F8_E4M3"),
        ({"w.qweight": torch.ones(2, 4, dtype=torch.int32)}, {"quantization_config": {"quant_method": "gptq"}},
         r"quantized \(gptq\): tensor w.qweight is stored as I32"),
    ],
)  # fmt: skip
def test_quantized_weights_are_refused_by_name(tmp_path, tensors, config, words):
    checkpoint = open_checkpoint(
        save(tmp_path / "m", {**FLOATS, **tensors}, config={"model_type": "x", **config})
    )
    for refuse in (refuse_quantized, refuse_as_pivot):
        with pytest.raises(MergeError, match=words):
            refuse(checkpoint)
    checkpoint.close()


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.int32])
def test_whole_numbers_alone_are_no_quantization(tmp_path, kind):
    """Positions and masks of plain models; 32-bit numbers too, where the config says nothing of a quantization."""
    checkpoint = open_checkpoint(save(tmp_path / "m", {**FLOATS, "position_ids": torch.ones(3, dtype=kind)}))
    refuse_as_pivot(checkpoint)
    checkpoint.close()
