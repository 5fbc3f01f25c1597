"""Headers: every type that safetensors knows is called by its name, and quantized models are named as such."""

import json
import struct

import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.merge.inputs.stored import BITS
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream.merge import merge_models

QUANTIZED = ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4")


def one_tensor(folder, kind, *, bits=8, config=None, count=8):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **(config or {})}))
    size = count * bits // 8
    header = json.dumps({"w.weight": {"dtype": kind, "shape": [count], "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    return folder


def merge(folder, out):
    merge_models(folder, {"t": folder}, Linear(), out, threads=1)


@pytest.mark.parametrize("kind", sorted(BITS))
def test_our_sizes_are_those_of_the_library(tmp_path, kind):
    from safetensors import safe_open

    folder = one_tensor(tmp_path / "m", kind, bits=BITS[kind])
    with safe_open(folder / "model.safetensors", framework="pt") as opened:
        assert list(opened.keys()) == ["w.weight"]
    stored = open_checkpoint(folder).tensors["w.weight"]
    assert (stored.dtype, stored.nbytes, stored.is_quantized) == (kind, BITS[kind], kind in QUANTIZED)


@pytest.mark.parametrize("kind", QUANTIZED)
def test_quantized_types_are_called_quantized_not_damaged(tmp_path, kind):
    folder = one_tensor(tmp_path / "m", kind, bits=BITS[kind])
    with pytest.raises(MergeError, match=f"quantized: .* stored as {kind}") as error:
        merge(folder, tmp_path / "out")
    assert "damaged" not in str(error.value)


def test_a_type_nobody_knows_is_named(tmp_path, monkeypatch):
    with pytest.raises(MergeError, match="type F3, which neither FusionChat nor safetensors"):
        merge(one_tensor(tmp_path / "new", "F3"), tmp_path / "out")
    monkeypatch.delitem(BITS, "F8_E8M0")  # as if the library were newer than our list
    with pytest.raises(MergeError, match="F8_E8M0, which FusionChat cannot merge"):
        merge(one_tensor(tmp_path / "mx", "F8_E8M0"), tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("I32", {"quant_method": "gptq", "bits": 4}, "gptq"),
        ("I32", {"quant_method": "awq"}, "awq"),
        ("U8", {"load_in_4bit": True}, "bitsandbytes, 4 bit"),
        ("I8", {"load_in_8bit": True, "load_in_4bit": False}, "bitsandbytes, 8 bit"),
        ("U8", {"quant_method": "mxfp4"}, "mxfp4"),
        ("F8_E4M3", {"quant_method": "fp8"}, "fp8"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_quantized_models_are_refused_by_the_name_of_their_method(tmp_path, kind, settings, named, inside):
    entry = {"quantization_config": settings}
    folder = one_tensor(
        tmp_path / "m", kind, bits=BITS[kind], config={"text_config": entry} if inside else entry
    )
    with pytest.raises(MergeError, match=rf"quantized \({named}\)"):
        merge(folder, tmp_path / "out")


def test_a_size_that_does_not_fit_its_type_is_damage(tmp_path):
    with pytest.raises(MergeError, match="damaged"):
        merge(one_tensor(tmp_path / "m", "F6_E2M3", bits=8), tmp_path / "out")
