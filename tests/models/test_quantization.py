"""Quantized models: described, configured, opened and made plain."""

import json

import pytest
import torch

from fusionchat.errors import ModelError
from fusionchat.models.head import Head
from fusionchat.models.offloaded import is_placed
from fusionchat.models.opening import Opening
from fusionchat.models.packed import packed, require_unpackable
from fusionchat.models.quantization import (
    bits_of,
    can_be_plain,
    configured,
    dequantized,
    describe,
    held_quantization,
    keep_layout,
    lacks,
    meant,
    methods,
    settings_of,
)
from fusionchat.models.ref import ModelRef
from fusionchat.run.estimate import OVERHEAD, capture_memory, parameters
from tests.models.placed import NF4, logits, opened, ref
from tests.small import small_model


def test_four_bits_are_near_the_model_and_its_head_is_its_own(small, nf4):
    """nf4 has 16 values: the worst error of a weight is half the widest gap (0.152) of its block's largest."""
    from bitsandbytes.functional import dequantize_4bit

    plain = opened(ref(small / "m"))
    assert is_placed(nf4) and not is_placed(plain)
    Head.of(nf4)
    original = plain.model.layers[0].mlp.up_proj.weight.detach()
    fresh = opened(ref(small / "m"), NF4).model.layers[0].mlp.up_proj.weight
    error = (dequantize_4bit(fresh.data, fresh.quant_state) - original).abs()
    largest = original.reshape(-1, 64).abs().amax(1, keepdim=True)
    assert 0 < float((error.reshape(-1, 64) / largest).max()) <= 0.1521
    assert torch.equal(nf4.model.embed_tokens.weight, plain.model.embed_tokens.weight)


def test_a_model_that_is_stored_quantized_is_opened_as_it_is_and_made_plain_where_asked(small, nf4):
    stored = ref(small / "nf4")
    held = held_quantization(stored)
    assert describe(held) == "bitsandbytes nf4" and bits_of(held) == 4 and lacks(held) == ""
    again = opened(stored)
    assert type(again.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    assert torch.equal(logits(again), logits(nf4))
    plain = opened(stored, plain=True)
    assert type(plain.model.layers[0].mlp.up_proj) is torch.nn.Linear and not is_placed(plain)
    assert {p.dtype for p in plain.parameters()} == {torch.float32}
    assert torch.allclose(logits(plain), logits(nf4), atol=2e-2 * float(logits(nf4).abs().max()))
    with pytest.raises(ModelError, match="are already quantized"):
        opened(stored, NF4)


def test_sizes_are_those_of_the_unpacked_model(small, nf4):
    count = sum(p.numel() for p in opened(ref(small / "m")).parameters())
    assert parameters(ref(small / "m")) == parameters(ref(small / "nf4")) == count
    assert capture_memory(ref(small / "nf4"), "float32") == pytest.approx(count * 1.05 / 2 + OVERHEAD)
    assert capture_memory(ref(small / "m"), "float32", NF4) == pytest.approx(count * 1.05 / 2 + OVERHEAD)
    assert capture_memory(ref(small / "m"), "bfloat16") == 2 * count + OVERHEAD


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"quant_method": "nf5"}, "no quantization method 'nf5'"),
        ({"quant_method": "bitsandbites"}, "did you mean 'bitsandbytes'"),
        ({"quant_method": "bitsandbytes", "load_in_4bits": True}, r"no setting 'load_in_4bits' \(did you mean 'load_in_4bit'"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": 3}, "cannot be set up"),
        ({"quant_method": "gguf"}, "no quantization method 'gguf'"),
        ({"quant_method": "awq", "bits": 4}, "can open weights that are stored in awq, but cannot quantize with it"),
    ],
)  # fmt: skip
def test_unknown_methods_and_settings_are_refused_by_name(wanted, words):
    with pytest.raises(ModelError, match=words) as error:
        configured(wanted, dtype="float32", where="sources.qwen.capture.quantization")
    assert error.value.where == "sources.qwen.capture.quantization" and error.value.exit_code == 2


def test_a_four_bit_layer_computes_in_the_capture_s_dtype_unless_it_is_said():
    made = configured(NF4.quantization, dtype="bfloat16", where="x")
    assert made.bnb_4bit_compute_dtype == torch.bfloat16
    given = {**NF4.quantization, "bnb_4bit_compute_dtype": "float16"}
    assert configured(given, dtype="bfloat16", where="x").bnb_4bit_compute_dtype == torch.float16
    short = configured({"quant_method": "bitsandbytes_8bit"}, dtype="bfloat16", where="x")
    assert short.load_in_8bit and not short.load_in_4bit


def test_methods_are_described_and_what_is_missing_is_transformers_word(tmp_path):
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    assert describe(gptq) == "gptq 4 bit" and bits_of(gptq) == 4
    assert describe({"quant_method": "fp8"}) == "fp8" and bits_of({"quant_method": "fp8"}) == 8
    assert "optimum" in lacks(gptq) or "gptqmodel" in lacks(gptq) or lacks(gptq) == ""
    assert held_quantization(ref(tmp_path)) is None
    for text in ("{", "[]", "{}", '{"quantization_config": null}'):
        (tmp_path / "config.json").write_text(text)
        assert held_quantization(ref(tmp_path)) is None
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": gptq}))
    pivot = ModelRef("pivot", str(tmp_path), str(tmp_path))
    assert packed(pivot)
    with pytest.raises(ModelError, match="quantized with gptq 4 bit"):
        require_unpackable(pivot)
    (tmp_path / "config.json").write_text(
        json.dumps({"text_config": {"quantization_config": {"quant_method": "fp8"}}})
    )
    require_unpackable(pivot)


@pytest.mark.parametrize(
    ("held", "words", "bits"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes 8 bit", 8),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes fp4", 4),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            "bitsandbytes nf4",
            4,
        ),
        ({"quant_method": "awq", "w_bit": 4}, "awq 4 bit", 4),
        ({"quant_method": "mxfp4"}, "mxfp4", 4),
        ({"quant_algo": "NVFP4"}, "NVFP4", None),
        ({"x": 1}, "an unnamed method", None),
    ],
)
def test_methods_have_a_name_and_perhaps_bits(held, words, bits):
    assert describe(held) == words and bits_of(held) == bits


def test_which_methods_can_be_made_plain():
    assert can_be_plain({"quant_method": "bitsandbytes"}) and can_be_plain({"quant_method": "mxfp4"})
    assert not can_be_plain({"quant_method": "gptq"}) and not can_be_plain({"quant_method": "of my own"})
    assert dequantized({"quant_method": "mxfp4"}).dequantize is True
    assert dequantized({"quant_method": "gptq", "bits": 4}) is None


def test_what_is_near_was_perhaps_meant():
    assert (
        meant("load_in_4bits", ["load_in_4bit", "x"]) == " (did you mean 'load_in_4bit'?)"
        and meant("q", ["x"]) == ""
    )
    assert "load_in_4bit" in settings_of(methods()["bitsandbytes"]) and "gguf" not in methods()


def test_4_bit_layers_stay_as_they_are_in_an_evaluation(small):
    """bitsandbytes would arrange them anew on a CPU with AVX-512 BF16; on others there is nothing to see."""
    model = opened(ref(small / "m"), NF4)
    layer = model.model.layers[0].mlp.up_proj
    keep_layout(model)
    before = layer.weight.data.clone()
    logits(model)
    assert layer.support_avx512bf16_for_cpu is False
    assert torch.equal(layer.weight.data, before) and layer.weight.quant_state.dtype != torch.bfloat16


@pytest.mark.parametrize("intermediate", [40, 96])
def test_layers_of_any_size_run_in_4_bits(tiny_input, tmp_path, intermediate):
    """bitsandbytes arranges 32 rows of 64 columns together on a CPU with AVX-512 BF16: 40 and 96 are no such sizes."""
    folder = small_model(tmp_path / "odd", tiny_input / "models/qwen", intermediate=intermediate)
    model = opened(ref(folder), NF4)
    coarse = logits(model)
    plain = logits(opened(ref(folder), NF4).dequantize())
    assert torch.allclose(coarse, plain, atol=2e-2 * float(plain.abs().max()))
    assert model.model.layers[0].mlp.down_proj.support_avx512bf16_for_cpu is False


def test_what_fails_in_a_way_of_opening_is_said_of_that_way(small):
    wrong = Opening(quantization={**NF4.quantization, "bnb_4bit_quant_type": "nf5"})
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        opened(ref(small / "m"), wrong)
    assert caught.value.where == "sources.qwen.capture: quantization"
