"""Blocks: their size, their checksum, packed and unpacked."""

import numpy as np
import pytest

from fusionchat.represent.store.blocks import block_rows, blocks_of, checksum, pack, unpack

ROWS = [3, 0, 2, 7, 1] * 12


def test_blocks_are_about_64_kib():
    assert block_rows([20, 20, 2, 4]) == 3276 and block_rows([2**20]) == 1
    assert [s.stop - s.start for s in blocks_of(10, 4)] == [4, 4, 2]


def test_a_checksum_is_xxh3():
    """The published value for no bytes."""
    assert checksum(np.zeros(0, np.uint8)) == 0x2D06800538D394C2


@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_a_packed_block_unpacks(dtype, falls):
    values = np.sort(np.random.default_rng(0).integers(0, 200, (50, 4)))[:, ::-1].astype(dtype)
    assert pack(values, "none", falls=falls).tobytes() == values.tobytes()
    frame = pack(values, "zstd", falls=falls)
    np.testing.assert_array_equal(unpack(frame, values.shape, np.dtype(dtype), falls=falls), values)
