"""The store: what was written is read, by conversation, over shards, in every encoding; other stores are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.errors import DamagedError
from fusionchat.represent.store.codes import decode, encode
from fusionchat.represent.store.cut import cut
from fusionchat.represent.store.layout import Encoding, shard_path
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter, write_store
from fusionchat.represent.topk import TopK
from tests.build import make_scored

ROWS = [3, 0, 2, 7, 1] * 12
ENCODINGS = [
    Encoding(11),
    Encoding(70_000),
    Encoding(11, "uint8"),
    Encoding(11, compression="zstd"),
    Encoding(70_000, "uint8", "zstd"),
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few rows."""
    monkeypatch.setattr("fusionchat.represent.store.write.block_rows", lambda widths: 4)


def kept(topk, encoding):
    """Distributions as an encoding keeps them."""
    if encoding.logprobs == "float16":
        return topk
    return TopK(topk.ids, decode(encode(topk.logprobs)), decode(encode(topk.tail)), topk.present)


def same(mine, theirs):
    for name in ("ids", "logprobs", "tail", "present"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_what_was_written_is_read(tmp_path, encoding):
    present = np.arange(sum(ROWS)) % 3 > 0
    whole = make_scored(0, ROWS, present=present)
    write_store(tmp_path, whole, rows=20, encoding=encoding)
    store = DistributionStore(tmp_path).require(whole.tokens.offsets)
    assert len(store) == len(ROWS) and store.rows == sum(ROWS) and len(store.ranges) > 5
    assert store.k == whole.topk.k and store.without == (~present).sum()
    wanted = kept(whole.topk, encoding)
    ends = whole.tokens.offsets.tolist()
    for c in range(len(ROWS)):
        same(store[c], wanted.slice(ends[c], ends[c + 1]))
    for first, last in ((0, len(ROWS)), (3, 40), (8, 8), (11, 13)):
        part = store.scored(whole.tokens, first, last)
        same(part.topk, wanted.slice(ends[first], ends[last]))
        assert part.topk.ids.dtype == np.int32
        np.testing.assert_array_equal(part.label_logprob, whole.label_logprob[ends[first] : ends[last]])
        assert part.tokens.same_as(whole.tokens.slice(first, last))
    assert [members for members, _ in store.shards()] == store.ranges
    same(next(store.shards())[1], wanted.slice(0, ends[store.ranges[0].stop]))
    assert store[0].ids.dtype == (np.uint16 if encoding.vocabulary <= 2**16 else np.int32)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=12),
    st.integers(1, 40),
    st.sampled_from(ENCODINGS),
    st.integers(1, 5),
)
def test_any_rows_any_cut(tmp_path_factory, rows, most, encoding, k):
    folder = tmp_path_factory.mktemp("store")
    whole = make_scored(len(rows), rows, k=k)
    write_store(folder, whole, rows=most, encoding=encoding)
    same(DistributionStore(folder).slice(0, len(rows)), kept(whole.topk, encoding))


def test_further_columns_are_kept(tmp_path):
    whole = make_scored(0, [3, 2])
    writer = StoreWriter(tmp_path, whole.tokens.offsets, [range(2)], Encoding(11, compression="zstd"))
    columns = {"kind": np.arange(5, dtype=np.uint8), "weights": np.arange(10, dtype=np.float16).reshape(5, 2),
               "fallback": np.array([1, 0, 0, 1, 1], bool)}  # fmt: skip
    writer.write(0, whole.topk, columns)
    store = DistributionStore(tmp_path)
    for name, values in columns.items():
        back = store.column(name, 0, 2)
        assert back.dtype == values.dtype and back.tolist() == values.tolist()
        assert store.column(name, 1, 2).tolist() == values[3:].tolist()
        assert store.column(name, 1, 1).shape == (0, *values.shape[1:])
    assert set(store.shard(0).columns) == {"ids", "logprobs", "tail", *columns}
    with pytest.raises(KeyError):
        store.column("label_logprob", 0, 1)


def test_what_is_not_asked_for_is_not_read(tmp_path):
    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11))
    last = len(DistributionStore(tmp_path).ranges) - 1
    shard_path(tmp_path, last).write_bytes(b"")
    store = DistributionStore(tmp_path)
    assert store[0].rows == ROWS[0]
    with pytest.raises(DamagedError, match=f"shard-{last:05d}"):
        store[len(ROWS) - 1]


def test_shards_of_other_conversations_are_refused(tmp_path):
    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11))
    swapped = [ROWS[1], ROWS[0], *ROWS[2:]]
    for other in (swapped, [*ROWS, 1], ROWS[:-1], [*ROWS[:-1], 5]):
        with pytest.raises(DamagedError, match="its rows do not match"):
            DistributionStore(tmp_path).require(make_scored(0, other).tokens.offsets)
    with pytest.raises(DamagedError, match="its rows do not match"):
        DistributionStore(tmp_path).scored(make_scored(0, [*ROWS[:-1], 5]).tokens, 0, len(ROWS))


def test_shards_of_two_stores_are_refused(tmp_path):
    whole = make_scored(0, ROWS)
    offsets = whole.tokens.offsets
    for mark in ("a", "b"):
        writer = StoreWriter(tmp_path / mark, offsets, cut(offsets, 20), Encoding(11), mark)
        for index, members in enumerate(writer.ranges):
            writer.write_scored(index, whole.slice(members.start, members.stop))
    shard_path(tmp_path / "b", 1).replace(shard_path(tmp_path / "a", 1))
    with pytest.raises(DamagedError, match=r"another store.*\n.*shard-00001"):
        DistributionStore(tmp_path / "a").require(offsets)
