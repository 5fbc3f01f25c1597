"""The writer against plain files: any pieces, any place to go on from, with and without the page cache."""

import errno
import hashlib
import itertools
import os

import numpy as np
import pytest

from fusionchat.merge.stream import writer
from fusionchat.merge.stream.writer import Writer


@pytest.fixture(autouse=True, params=["direct", "cached", "broken promise"])
def mode(request, monkeypatch):
    """Past the page cache, through it, and where the first write past it is refused."""
    monkeypatch.setattr(writer, "_BUFFER", 8192)
    monkeypatch.setattr(writer, "_DURABLE_EVERY", 20_000)
    if request.param == "cached":
        monkeypatch.setattr(writer, "_set_direct", lambda handle, wanted: False)
    elif request.param == "broken promise":
        direct, pwrite = [True], os.pwrite

        def refuse(handle, data, at):
            if direct[0]:
                raise OSError(errno.EINVAL, "not aligned to your taste")
            return pwrite(handle, data, at)

        def switch(handle, wanted):
            direct[0] = wanted
            return wanted

        monkeypatch.setattr(writer, "_set_direct", switch)
        monkeypatch.setattr(os, "pwrite", refuse)
    return request.param


def pieces(data: bytes, rng) -> list[np.ndarray]:
    cuts = [0, *sorted(rng.integers(0, len(data), 12)), len(data)]
    return [np.frombuffer(data[a:b], np.uint8) for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize("size", [0, 1, 4096, 8192, 8193, 100_000])
def test_the_file_and_its_hash_are_those_of_the_bytes(tmp_path, size):
    rng = np.random.default_rng(size)
    data = rng.bytes(size)
    path = tmp_path / "file"
    path.write_bytes(b"left over from before" * 10_000)
    held: list[int] = []
    made = Writer(path, 0, lambda safe: held.append(safe) or sizes.append(path.stat().st_size))
    sizes: list[int] = []
    for piece in pieces(data, rng) if size else []:
        made.write(piece)
    assert made.size == size
    assert made.finish() == hashlib.sha256(data).hexdigest()
    assert path.read_bytes() == data
    assert held == sorted(held)
    assert all(safe <= there for safe, there in zip(held, sizes, strict=True))
    assert bool(held) == (size > 20_000)


@pytest.mark.parametrize("at", [1, 4095, 4096, 5000, 8192, 50_001])
def test_going_on_in_the_middle_gives_the_same_file_and_hash(tmp_path, at):
    rng = np.random.default_rng(at)
    data = rng.bytes(60_000)
    path = tmp_path / "file"
    path.write_bytes(data[:at] + rng.bytes(70_000))
    made = Writer(path, at)
    assert path.stat().st_size == at
    for piece in pieces(data[at:], rng):
        made.write(piece)
    assert made.finish() == hashlib.sha256(data).hexdigest()
    assert path.read_bytes() == data


def test_values_of_any_type_and_shape_are_their_bytes(tmp_path):
    values = np.arange(6000, dtype=np.float32).reshape(60, 100)
    made = Writer(tmp_path / "file")
    made.write(values)
    made.finish()
    assert (tmp_path / "file").read_bytes() == values.tobytes()


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(handle, data, at):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    made = Writer(tmp_path / "file")
    with pytest.raises(OSError, match="No space"):
        for _ in range(20):
            made.write(np.zeros(8192, np.uint8))
        made.finish()
    made.close()


def test_nothing_behind_a_hole_counts_as_safe(tmp_path, monkeypatch):
    """A write that fails once, as on a disk that is full for a moment: later buffers must not vouch for it."""
    pwrite, calls = os.pwrite, [0]

    def fail_once(handle, data, at):
        if at == 16_384 and calls[0] < 2:  # past the page cache and through it
            calls[0] += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(handle, data, at)

    monkeypatch.setattr(os, "pwrite", fail_once)
    held: list[int] = []
    made = Writer(tmp_path / "file", 0, held.append)
    with pytest.raises(OSError, match="No space"):
        for _ in range(20):
            made.write(np.ones(8192, np.uint8))
        made.finish()
    made.close()
    assert all(safe <= 16_384 for safe in held)
