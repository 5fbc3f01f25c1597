"""Shards: read what was written, refuse what is damaged, ranges cover everything once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.errors import ArtifactError, DamagedError
from fusionchat.represent.shards import (
    StoredTopK,
    read_scored,
    read_shard,
    shard_count,
    shard_path,
    shard_range,
    write_scored,
    write_shard,
)
from tests.build import make_scored, make_topk


def test_a_shard_reads_back_with_its_extras(tmp_path):
    topk = make_topk(0, [3, 2])
    write_shard(shard_path(tmp_path, 0), topk, {"kind": np.arange(5, dtype=np.uint8)})
    back, extras = read_shard(shard_path(tmp_path, 0))
    np.testing.assert_array_equal(back.logprobs, topk.logprobs)
    assert back.ids.dtype == np.int32 and extras["kind"].tolist() == [0, 1, 2, 3, 4]
    assert [p.name for p in tmp_path.iterdir()] == ["shard-00000.safetensors"]


def stored(folder, rows):
    """A capture of conversations with so many rows each, in shards; returned as it was in memory."""
    whole = make_scored(0, rows)
    for index in range(shard_count(len(rows))):
        members = shard_range(index, len(rows))
        write_scored(shard_path(folder, index), whole.slice(members.start, members.stop))
    return whole


ROWS = [3, 0, 2] * 171  # three shards, the last of one conversation


def test_a_shard_is_read_with_the_tokens_of_its_conversations(tmp_path):
    whole = stored(tmp_path, ROWS)
    second, own = read_scored(tmp_path, whole.tokens, 1), whole.slice(256, 512)
    assert second.tokens.same_as(own.tokens)
    np.testing.assert_array_equal(second.topk.ids, own.topk.ids)
    np.testing.assert_array_equal(second.label_logprob, own.label_logprob)
    held = read_shard(shard_path(tmp_path, 1))
    assert held[1].keys() == {"label_logprob"}  # the tokens are not stored again


def test_every_conversation_is_looked_up_in_its_shard(tmp_path):
    whole = stored(tmp_path, ROWS)
    found = StoredTopK(tmp_path, whole.tokens.offsets)
    for c in (0, 1, 255, 256, 511, 512):
        own = whole.slice(c, c + 1).topk
        assert found[c].rows == ROWS[c]
        np.testing.assert_array_equal(found[c].ids, own.ids)
        np.testing.assert_array_equal(found[c].tail, own.tail)


def test_a_shard_that_is_not_asked_for_is_not_read(tmp_path):
    whole = stored(tmp_path, ROWS)
    found = StoredTopK(tmp_path, whole.tokens.offsets)
    shard_path(tmp_path, 2).write_bytes(b"")
    assert found[300].rows == ROWS[300]
    with pytest.raises(DamagedError, match="shard-00002"):
        found[512]


def test_shards_of_other_conversations_are_refused(tmp_path):
    whole = stored(tmp_path, ROWS)
    other = make_scored(0, [*ROWS[:-1], 5]).tokens
    with pytest.raises(DamagedError, match="other rows"):
        StoredTopK(tmp_path, other.offsets)
    with pytest.raises(DamagedError, match="other rows"):
        read_scored(tmp_path, other, 2)
    assert read_scored(tmp_path, whole.tokens, 2).topk.rows == ROWS[-1]


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
