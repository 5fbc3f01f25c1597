"""GGUF files: their headers, which of them are refused, and that they open as the folder they were made from."""

import struct
from dataclasses import replace

import pytest
import torch

from fusionchat.errors import ModelError
from fusionchat.models import gguf as module
from fusionchat.models.gguf import (
    Tensor,
    doubts,
    plain,
    read_header,
    require_readable,
    require_whole,
    same_tokens,
    structures,
)
from fusionchat.models.load import load_config, load_model, load_tokenizer
from fusionchat.models.ref import ModelRef
from tests.gguf_files import write_gguf

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tiny_input, tmp_path_factory):
    """The tiny pivot and the tiny Qwen2 as GGUF files, in float32 and in 8 bits."""
    folder = tmp_path_factory.mktemp("gguf")
    for name in ("pivot", "qwen"):
        for kind in ("F32", "Q8_0"):
            write_gguf(tiny_input / "models" / name, folder / f"{name}-{kind}.gguf", kind=kind)
    return folder


def ref(path, tokenizer=None):
    return ModelRef("m", str(path), str(tokenizer or path))


def test_a_header_says_what_the_file_holds(files):
    header = read_header(files / "pivot-F32.gguf")
    assert header.architecture == "llama" and header.experts == 0
    assert header.values["llama.embedding_length"] == 128
    assert header.values["tokenizer.ggml.tokens"][:3] == ["<unk>", "<s>", "</s>"]
    assert header.tensors["token_embd.weight"].shape == (128, 1000)
    assert header.count == 128 * 1000 + 2 * (128 * 128 * 2 + 128 * 64 * 2 + 3 * 128 * 344 + 2 * 128) + 128
    assert header.size == (files / "pivot-F32.gguf").stat().st_size >= header.begin + 4 * header.count


@pytest.mark.parametrize("name", ["pivot", "qwen"])
def test_a_file_in_float32_is_the_folder(files, tiny_input, name):
    path, folder = files / f"{name}-F32.gguf", tiny_input / "models" / name
    made, own = (load_model(ref(one), dtype=torch.float32, device=CPU) for one in (path, folder))
    theirs = own.state_dict()
    assert made.state_dict().keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in made.state_dict().items())
    text = "Hello, it's 12 days  and\n\nno More 你"
    ids = [load_tokenizer(ref(one))(text, add_special_tokens=False)["input_ids"] for one in (path, folder)]
    assert ids[0] == ids[1]
    assert load_tokenizer(ref(path)).chat_template == load_tokenizer(ref(folder)).chat_template
    assert load_config(ref(path)) is load_config(ref(path))


def test_eight_bits_are_dequantized_and_the_model_is_saved_as_any_other(files, tiny_input, tmp_path):
    made = load_model(ref(files / "qwen-Q8_0.gguf"), dtype=torch.float32, device=CPU)
    own = load_model(ref(tiny_input / "models/qwen"), dtype=torch.float32, device=CPU)
    mine, theirs = made.model.layers[0].mlp.up_proj.weight, own.model.layers[0].mlp.up_proj.weight
    worst = (mine - theirs).abs().max() / theirs.abs().max()
    assert 0 < worst < 1 / 127
    made.save_pretrained(tmp_path)
    again = load_model(ref(tmp_path), dtype=torch.float32, device=CPU)
    assert torch.equal(again.model.layers[0].mlp.up_proj.weight, mine)


def test_a_file_that_is_cut_short_or_something_else_is_refused(files, tmp_path):
    whole = (files / "pivot-F32.gguf").read_bytes()
    begin = read_header(files / "pivot-F32.gguf").begin
    for content, words in (
        (b"", "it has no content"),
        (b"GG", "it has no content"),
        (b"PK\x03\x04" + bytes(100), "does not begin with GGUF"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(100), "version 1 is not one of 2, 3"),
        (whole[:20], "cut short: its header ends too early"),
        (whole[: begin // 2], "cut short"),
        (whole[:-5000], r"blk\.\d\..* goes past its end"),
    ):
        path = tmp_path / "x.gguf"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=words) as error:
            require_readable(path)
        assert error.value.where == str(path) and error.value.exit_code == 2
    with pytest.raises(ModelError, match="cannot be read"):
        read_header(tmp_path / "none.gguf")
    require_whole(files / "pivot-F32.gguf", read_header(files / "pivot-F32.gguf"))


def test_structures_that_transformers_does_not_read_are_refused_by_name(tiny_input, tmp_path):
    folder = tiny_input / "models/qwen"
    unknown = write_gguf(folder, tmp_path / "u.gguf", architecture="wavenet9")
    with pytest.raises(ModelError, match="does not read wavenet9 from a GGUF file") as error:
        require_readable(unknown)
    assert "llama" in str(error.value)
    mixture = write_gguf(tiny_input / "models/pivot", tmp_path / "m.gguf", **{"llama.expert_count": 8})
    with pytest.raises(ModelError, match=r"8 experts of structure llama \(as Mixtral has\)"):
        load_config(ref(mixture))
    assert {"llama", "qwen2", "qwen3moe", "gemma3"} <= structures().keys()
    assert plain("qwen2_moe") == plain("qwen2moe") and plain("gpt-oss") == "gptoss"


def test_weights_that_a_file_lacks_are_an_error(files, tiny_input, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "m"
    folder.mkdir()
    for file in (tiny_input / "models/qwen").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    held = load_file(folder / "model.safetensors")
    lost = "model.layers.1.mlp.up_proj.weight"
    save_file({key: value for key, value in held.items() if key != lost}, folder / "model.safetensors")
    path = write_gguf(folder, tmp_path / "x.gguf")
    with pytest.raises(ModelError, match=f"lacks 1 tensors of its structure, such as {lost}"):
        load_model(ref(path), dtype=torch.float32, device=CPU)


def test_a_tokenizer_of_another_model_is_refused(files, tiny_input):
    path, own, other = files / "qwen-F32.gguf", tiny_input / "models/qwen", tiny_input / "models/pivot"
    assert len(load_tokenizer(ref(path, own))) == 1400
    with pytest.raises(ModelError, match="not that of its GGUF file"):
        load_tokenizer(ref(path, other))
    header = read_header(path)
    spellings = list(header.values["tokenizer.ggml.tokens"])
    assert same_tokens(header, spellings) == 1.0
    assert same_tokens(header, ["?", *spellings[1:]]) == 1399 / 1400
    assert same_tokens(header, spellings[:700]) == 0.5


def test_without_the_package_the_extra_is_named(files, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ModelError, match="package `gguf`") as error:
        require_readable(files / "qwen-F32.gguf")
    assert "fusionchat[quant]" in str(error.value)


def test_what_transformers_passes_over_is_said(files, tiny_input, tmp_path):
    assert doubts(read_header(files / "qwen-F32.gguf"), own_tokenizer=True) == []
    assert doubts(read_header(files / "pivot-F32.gguf"), own_tokenizer=True) == []
    header = read_header(files / "qwen-F32.gguf")
    other = replace(
        header,
        values={**header.values, "tokenizer.ggml.pre": "smollm"},
        tensors={**header.tensors, "rope_freqs.weight": Tensor((16,), 0, 0)},
    )
    rules, frequencies = doubts(other, own_tokenizer=True)
    assert "rules called 'smollm'" in rules and "rope_freqs.weight" in frequencies
    assert doubts(other, own_tokenizer=False) == [frequencies]
