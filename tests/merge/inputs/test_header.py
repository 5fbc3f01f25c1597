"""The one reader of safetensors headers: where tensors are, and what is said of a file that is damaged."""

import json
import struct
from contextlib import closing

import pytest
import torch
from safetensors.torch import load_file, save_file

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.header import UnknownTypeError, header_bytes, read_header
from fusionchat.merge.inputs.stored import MappedFile


def entry(begin, end, dtype="U8", shape=None):
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def read(path):
    with closing(MappedFile(path)) as file:
        return read_header(file)


def written(path, entries, data):
    path.write_bytes(header_bytes(entries) + bytes(data))
    return path


def test_tensors_are_where_the_library_put_them(tmp_path):
    path, big = tmp_path / "w.safetensors", torch.arange(6, dtype=torch.float32).view(2, 3)
    save_file({"b": big, "a": torch.ones(4, dtype=torch.bfloat16)}, path, metadata={"format": "pt"})
    held = read(path)
    assert list(held) == ["b", "a"], "in the order of the file, which is by size of type"
    assert {name: (one.dtype, one.shape) for name, one in held.items()} == {
        "b": ("F32", (2, 3)),
        "a": ("BF16", (4,)),
    }
    raw = path.read_bytes()
    assert raw[held["b"].begin : held["b"].begin + 24] == big.numpy().tobytes()
    assert held["a"].begin == held["b"].begin + 24 == len(raw) - 8


def test_the_library_reads_what_is_written(tmp_path):
    header = header_bytes({"x": entry(0, 8, "F32", [2])})
    assert len(header) % 8 == 0 and struct.unpack("<Q", header[:8])[0] == len(header) - 8
    assert json.loads(header[8:])["__metadata__"] == {"format": "pt"}
    path = written(tmp_path / "w.safetensors", {"x": entry(0, 8, "F32", [2])}, 8)
    assert load_file(path)["x"].tolist() == [0.0, 0.0]
    assert list(read(path)) == ["x"]


@pytest.mark.parametrize(
    ("entries", "data", "said"),
    [
        ({"a": entry(0, 4), "b": entry(2, 6)}, 6, "Tensor b overlaps another or leaves a gap"),
        ({"a": entry(0, 4), "b": entry(6, 8)}, 8, "Tensor b overlaps another or leaves a gap"),
        ({"a": entry(0, 4), "b": entry(4, 8)}, 7, "cut short: tensor b is incomplete"),
        ({"a": entry(0, 4)}, 5, "bytes that belong to no tensor"),
        ({"a": entry(0, 4, "F32", [2])}, 4, "header is damaged: tensor a takes 4 bytes, not 8"),
        ({"a": entry(0, 4, shape=[-4])}, 4, "header is damaged: tensor a has shape"),
        (
            {"a": {**entry(0, 4), "data_offsets": [0]}},
            4,
            r"header is damaged: tensor a has the data_offsets \[0\]",
        ),
        ({"a": entry(0, 4, dtype=7)}, 4, "header is damaged: tensor a has the unknown type 7"),
        ({"a": {"dtype": "U8", "shape": [4]}}, 4, "header is damaged: 'data_offsets'"),
        ({"a": 3}, 4, "header is damaged"),
    ],
)
def test_damage_is_named_with_its_file(tmp_path, entries, data, said):
    path = written(tmp_path / "w.safetensors", entries, data)
    with pytest.raises(MergeError, match=said) as error:
        read(path)
    assert error.value.where == str(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"abc", "cut short, or is not a safetensors file"),
        (struct.pack("<Q", 99) + b"{}", "cut short, or is not a safetensors file"),
        (struct.pack("<Q", 2) + b"{]", "header is damaged"),
        (struct.pack("<Q", 2) + b"[]", "header is damaged"),
    ],
)
def test_what_is_no_safetensors_file_is_said_so(tmp_path, content, said):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(MergeError, match=said):
        read(path)


def test_a_type_that_cannot_be_merged_is_an_error_of_its_own(tmp_path):
    path = written(tmp_path / "w.safetensors", {"a": entry(0, 4, "NEW")}, 4)
    with pytest.raises(UnknownTypeError, match="Tensor a has the type NEW"):
        read(path)
