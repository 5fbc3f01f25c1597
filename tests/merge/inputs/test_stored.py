"""Tensors in files: sizes, values of every type as float32, and which pages are asked for and dropped."""

import mmap
import os

import numpy as np
import pytest
import torch

from fusionchat.merge.inputs.stored import BITS, MappedFile, Stored


@pytest.fixture
def opened(tmp_path):
    """A function that maps a file with these bytes."""
    files = []

    def get(raw):
        path = tmp_path / f"{len(files)}.safetensors"
        path.write_bytes(raw)
        files.append(MappedFile(path))
        return files[-1]

    yield get
    for file in files:
        file.close()


@pytest.mark.parametrize(
    ("dtype", "nbytes", "is_float", "is_quantized"),
    [
        ("F64", 48, True, False), ("F32", 24, True, False), ("BF16", 12, True, False), ("F16", 12, True, False),
        ("I64", 48, False, False), ("BOOL", 6, False, False), ("F8_E4M3", 6, False, True), ("F4", 3, False, True),
        ("U8", 6, False, False),
    ],
)  # fmt: skip
def test_what_a_type_is(opened, dtype, nbytes, is_float, is_quantized):
    stored = Stored("w", opened(b"x"), dtype, (2, 3), 0)
    assert (stored.count, stored.nbytes) == (6, nbytes)
    assert (stored.is_float, stored.is_quantized) == (is_float, is_quantized)
    assert stored.origin.endswith("0.safetensors")


def test_six_bits_are_packed(opened):
    assert BITS["F6_E2M3"] == 6 and Stored("w", opened(b"x"), "F6_E2M3", (8,), 0).nbytes == 6


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_values_arrive_as_float32_from_anywhere_in_the_tensor(opened, kind):
    values = (torch.arange(10) / 8 - 0.5).to(kind)
    raw = values.view(torch.uint8).numpy().tobytes()
    name = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[kind]
    stored = Stored("w", opened(b"8 bytes " + raw), name, (2, 5), 8)
    out = np.empty(4, np.float32)
    stored.decode(3, out)
    assert out.tolist() == values[3:7].tolist()
    assert bytes(stored.raw()) == raw


def test_what_is_too_large_for_float32_becomes_infinite(opened):
    stored = Stored("w", opened(np.array([1e300, -1e300, 1.0]).tobytes()), "F64", (3,), 0)
    out = np.empty(3, np.float32)
    stored.decode(0, out)
    assert out.tolist() == [np.inf, -np.inf, 1]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice on files")
def test_reading_ahead_asks_for_each_byte_once(opened, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, begin, size, what: asked.append((begin, size)))
    stored = Stored("w", opened(b"x" * 100), "BF16", (10**9,), 8)
    mega = 2**20
    for element in (0, 6 * mega, 11 * mega, 13 * mega):  # two bytes each, behind 8 bytes
        stored.read_ahead(element)
    assert asked == [(8, 48 * mega), (8 + 48 * mega, 26 * mega)]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice on files")
def test_whole_pages_are_dropped(opened, monkeypatch):
    dropped = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, begin, size, what: dropped.append((begin, size)))
    page = mmap.PAGESIZE
    file = opened(bytes(4 * page))
    Stored("w", file, "U8", (3 * page - 10,), 5).release()
    Stored("small", file, "U8", (10,), 5).release()
    assert dropped == [(page, page)]
