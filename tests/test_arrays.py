"""Arrays in a file: mapped, private, with no file handle left open."""

from pathlib import Path

import numpy as np
import pytest

from fusionchat.arrays import map_arrays, save_arrays, shapes_in
from fusionchat.errors import DamagedError

HANDLES = Path("/proc/self/fd")
ARRAYS = {
    "half": np.arange(6, dtype=np.float16).reshape(3, 2),
    "flag": np.array([True, False]),
    "nothing": np.zeros((0, 4), np.int32),
    "wide": np.arange(3, dtype=np.int64)[::-1],
}


def test_arrays_read_back_bit_for_bit(tmp_path):
    save_arrays(tmp_path / "a.safetensors", ARRAYS)
    back = map_arrays(tmp_path / "a.safetensors")
    assert back.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert back[name].dtype == array.dtype and back[name].tolist() == array.tolist()
    assert shapes_in(tmp_path / "a.safetensors") == {name: array.shape for name, array in ARRAYS.items()}


def test_what_is_written_to_an_array_is_in_no_file_and_none_stays_open(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, ARRAYS)
    before, handles = path.read_bytes(), len(list(HANDLES.iterdir()))
    kept = [map_arrays(path) for _ in range(5)]
    kept[0]["half"][:] = 7
    assert kept[1]["half"][0, 1] == 1 and path.read_bytes() == before
    assert len(list(HANDLES.iterdir())) == handles


@pytest.mark.parametrize("read", [map_arrays, shapes_in])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_damaged_file_is_named(tmp_path, read, damage):
    path = tmp_path / "a.safetensors"
    save_arrays(path, ARRAYS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match=r"a\.safetensors"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DamagedError, match="none"):
        map_arrays(tmp_path / "none")
