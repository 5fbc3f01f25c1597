"""What transformers is asked for, and what is done with the model it gives."""

import gc
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fusionchat.errors import ModelError
from fusionchat.models.from_pretrained import (
    OFFLOAD,
    finished,
    is_packed,
    placed,
    require_all,
    without_quantizer,
)
from fusionchat.models.opening import PLAIN, Opening
from tests.models.placed import CPU, ref

CUDA = torch.device("cuda", 1)
GPTQ = {"quant_method": "gptq", "bits": 4}
EIGHT = Opening(quantization={"quant_method": "bitsandbytes_8bit"})


def asked(tmp_path, opening=PLAIN, device=CPU, held=None, plain=False):
    return placed(ref(tmp_path), opening, dtype=torch.bfloat16, device=device, held=held, plain=plain)


def test_plain_weights_have_the_dtype_and_go_to_the_device(tmp_path):
    assert asked(tmp_path) == {"dtype": torch.bfloat16}
    assert asked(tmp_path, device=CUDA) == {"dtype": torch.bfloat16, "device_map": {"": CUDA}}


def test_weights_that_are_stored_quantized_keep_their_own_types(tmp_path):
    assert asked(tmp_path, held=GPTQ) == {"dtype": "auto", "device_map": {"": CPU}}
    made = asked(tmp_path, held={"quant_method": "mxfp4"}, plain=True)
    assert made["quantization_config"].dequantize is True
    assert "quantization_config" not in asked(tmp_path, held=GPTQ, plain=True)  # it cannot be


def test_weights_are_quantized_where_that_is_asked_for(tmp_path):
    made = asked(tmp_path, EIGHT)
    assert made["quantization_config"].load_in_8bit and made["device_map"] == {"": CPU}
    with pytest.raises(ModelError, match="are already quantized") as caught:
        asked(tmp_path, EIGHT, held=GPTQ)
    assert caught.value.where == "sources.qwen.capture.quantization"


def test_a_map_of_devices_has_a_folder_for_what_is_on_the_disk(tmp_path):
    made = asked(tmp_path, Opening(device_map="auto", max_memory={"0": "1GB", "cpu": 5}), device=CUDA)
    assert made["device_map"] == "auto" and made["max_memory"] == {0: "1GB", "cpu": 5}
    folder = Path(made[OFFLOAD])
    assert folder.is_dir()
    model = nn.Linear(1, 1)
    assert finished(ref(tmp_path), model, [], made, plain=False, dtype=torch.float32) is model
    assert folder.is_dir()
    del model
    gc.collect()
    assert not folder.exists()


class Quantized(nn.Linear):
    """A model that says it is quantized, and can be made plain."""

    def __init__(self, dequantize=False):
        super().__init__(1, 1)
        self.config = SimpleNamespace(quantization_config=SimpleNamespace(dequantize=dequantize))
        self.hf_quantizer, self.calls = object(), []

    def dequantize(self):
        self.calls.append("dequantize")
        return self


@pytest.mark.parametrize(("dequantize", "calls"), [(False, ["dequantize"]), (True, [])])
def test_packed_weights_are_unpacked_once(tmp_path, dequantize, calls):
    model = Quantized(dequantize)
    assert is_packed(model) == (not dequantize)
    made = finished(ref(tmp_path), model, [], {}, plain=True, dtype=torch.float64)
    assert model.calls == calls and made.weight.dtype == torch.float64
    assert made.hf_quantizer is None and not hasattr(made.config, "quantization_config")


def test_what_is_not_to_be_plain_stays_quantized(tmp_path):
    model = Quantized()
    assert finished(ref(tmp_path), model, [], {}, plain=False, dtype=torch.float64).hf_quantizer is not None
    without_quantizer(model)
    without_quantizer(model)
    assert model.hf_quantizer is None


def test_a_gguf_file_has_all_weights_of_its_structure(tmp_path):
    require_all(ref(tmp_path), [])
    with pytest.raises(ModelError, match=r"lacks 2 tensors of its structure, such as a\.w"):
        require_all(ref(tmp_path), ["a.w", "b.w"])
