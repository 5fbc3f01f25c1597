"""A rendered part: what was joined is what is read back, conversation by conversation."""

import numpy as np
import pytest

from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import join, read_rendered, write_rendered
from fusionchat.errors import DamagedError


def rendered(seed, length, rows):
    rng = np.random.default_rng(seed)
    begin = rng.integers(-1, 9, len(rows)).astype(np.int32)
    ids = rng.integers(0, 99, length).astype(np.int32)
    return Rendered(ids, np.array(rows, np.int32), np.full(len(rows), seed, np.int32), begin, begin + 1)


RENDERED = [rendered(1, 6, [2, 3, 5]), rendered(2, 4, [3]), rendered(3, 9, [1, 2, 7, 8])]


@pytest.fixture
def stored(tmp_path):
    write_rendered(tmp_path / "part.safetensors", join(RENDERED))
    return read_rendered(tmp_path / "part.safetensors")


def test_every_conversation_reads_back(stored):
    assert len(stored) == 3 and stored.offsets.tolist() == [0, 3, 4, 8]
    assert stored.lengths.tolist() == [6, 4, 9]
    for one, own in zip(stored, RENDERED, strict=True):
        for mine, theirs in zip(one, own, strict=True):
            assert mine.dtype == np.int32 and mine.tolist() == theirs.tolist()
    assert stored.slice(0, 3).same_as(join(RENDERED).supervised)
    assert stored.slice(1, 3).same_as(join(RENDERED[1:]).supervised)
    assert stored.slice(2, 2).rows == 0


def test_a_slice_is_the_conversations_in_it(stored):
    part = stored[1:3]
    assert [one.input_ids.tolist() for one in part] == [one.input_ids.tolist() for one in RENDERED[1:]]
    assert part[1].rows.tolist() == [1, 2, 7, 8] and part.offsets.tolist() == [0, 1, 5]
    assert part.supervised.same_as(join(RENDERED[1:]).supervised) and part.starts.tolist() == [0, 4, 13]
    assert len(stored[2:2]) == 0 and len(stored[1:9]) == 2
    with pytest.raises(IndexError):
        stored[3]


def test_nothing_is_a_part():
    assert len(join([])) == 0 and join([]).supervised.rows == 0


@pytest.mark.parametrize(("largest", "dtype"), [(65_535, np.uint16), (65_536, np.int32)])
def test_ids_have_16_bits_where_these_are_enough(tmp_path, largest, dtype):
    one = RENDERED[0]._replace(input_ids=np.array([0, 1, 2, 3, 4, largest], np.int32))
    write_rendered(tmp_path / "part", join([one]))
    stored = read_rendered(tmp_path / "part")
    assert stored.input_ids.dtype == dtype and stored[0].input_ids.tolist() == one.input_ids.tolist()
    assert stored.slice(0, 1).labels.tolist() == [2, 3, largest]


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b.replace(b"sizes", b"seize")]
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "part.safetensors"
    write_rendered(path, join(RENDERED))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match=r"part\.safetensors"):
        read_rendered(path)
