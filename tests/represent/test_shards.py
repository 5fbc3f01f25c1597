"""Shards: read what was written, refuse what is damaged, ranges cover everything once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.errors import ArtifactError
from fusionchat.represent.shards import (
    read_all,
    read_shard,
    shard_count,
    shard_path,
    shard_range,
    write_shard,
)
from tests.build import make_topk


def test_a_shard_reads_back_with_its_extras(tmp_path):
    topk = make_topk(0, [3, 2])
    write_shard(shard_path(tmp_path, 0), topk, {"kind": np.arange(5, dtype=np.uint8)})
    back, extras = read_shard(shard_path(tmp_path, 0))
    np.testing.assert_array_equal(back.logprobs, topk.logprobs)
    assert back.ids.dtype == np.int32 and extras["kind"].tolist() == [0, 1, 2, 3, 4]
    assert [p.name for p in tmp_path.iterdir()] == ["shard-00000.safetensors"]


def test_all_shards_join_in_order(tmp_path):
    parts = [make_topk(s, [2, 1]) for s in range(3)]
    for index, part in enumerate(parts):
        write_shard(shard_path(tmp_path, index), part)
    np.testing.assert_array_equal(read_all(tmp_path).ids, np.concatenate([p.ids for p in parts]))


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_damaged_shard_is_named(tmp_path, damage):
    path = shard_path(tmp_path, 0)
    write_shard(path, make_topk(0, [3]))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtifactError, match="shard-00000"):
        read_shard(path)


@given(st.integers(0, 5000))
def test_ranges_cover_every_conversation_once(count):
    covered = [i for shard in range(shard_count(count)) for i in shard_range(shard, count)]
    assert covered == list(range(count))
