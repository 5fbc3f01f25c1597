"""The store: what was written is read, by conversation, over shards, in every encoding; other stores are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from fusionchat.errors import ArtifactError, DamagedError
from fusionchat.represent.store import blocks
from fusionchat.represent.store.codes import decode, encode
from fusionchat.represent.store.cut import cut
from fusionchat.represent.store.layout import Encoding, shard_path
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.shard import read_shard
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


def test_empty_slots_have_id_0_and_ids_past_the_vocabulary_are_refused(tmp_path):
    whole = make_scored(0, [2], k=2)
    topk = TopK(
        np.array([[4, -1], [3, 70_000]], np.int32),
        np.array([[-1, -np.inf], [-2, -np.inf]], np.float16),
        whole.topk.tail,
        whole.topk.present,
    )
    writer = StoreWriter(tmp_path, whole.tokens.offsets, [range(1)], Encoding(11))
    writer.write(0, topk)
    assert DistributionStore(tmp_path)[0].ids.tolist() == [[4, 0], [3, 0]]
    with pytest.raises(AssertionError, match="vocabulary"):
        writer.write(0, TopK(topk.ids, np.zeros((2, 2), np.float16), topk.tail, topk.present))


def test_any_program_can_open_a_shard(tmp_path):
    whole = make_scored(0, [3, 2])
    write_store(tmp_path, whole, rows=99, encoding=Encoding(11))
    arrays = load_file(shard_path(tmp_path, 0))
    np.testing.assert_array_equal(arrays["ids"], whole.topk.ids)
    np.testing.assert_array_equal(arrays["label_logprob"], whole.label_logprob)
    assert arrays["offsets"].tolist() == [0, 3, 5] and "present" not in arrays


def test_what_is_not_asked_for_is_not_read(tmp_path):
    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11))
    last = len(DistributionStore(tmp_path).ranges) - 1
    shard_path(tmp_path, last).write_bytes(b"")
    store = DistributionStore(tmp_path)
    assert store[0].rows == ROWS[0]
    with pytest.raises(DamagedError, match=f"shard-{last:05d}"):
        store[len(ROWS) - 1]


def test_a_block_is_checked_once(tmp_path, monkeypatch):
    whole = make_scored(0, [40])
    write_store(tmp_path, whole, rows=99, encoding=Encoding(11))
    store = DistributionStore(tmp_path)
    store[0]
    monkeypatch.setattr(
        "fusionchat.represent.store.shard.checksum", lambda data: pytest.fail("a second look")
    )
    assert store[0].rows == 40


def test_shards_of_other_conversations_are_refused(tmp_path):
    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11))
    swapped = [ROWS[1], ROWS[0], *ROWS[2:]]
    for other in (swapped, [*ROWS, 1], ROWS[:-1], [*ROWS[:-1], 5]):
        with pytest.raises(DamagedError, match="other rows"):
            DistributionStore(tmp_path).require(make_scored(0, other).tokens.offsets)
    with pytest.raises(DamagedError, match="other rows"):
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


@pytest.mark.parametrize("lost", [0, 1, -1])
def test_a_missing_shard_is_named(tmp_path, lost):
    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11))
    files = sorted(tmp_path.glob("shard-*"))
    files[lost].unlink()
    with pytest.raises(DamagedError, match=rf"missing\n.*{files[lost].name}"):
        DistributionStore(tmp_path).require(whole.tokens.offsets)


def test_no_store(tmp_path):
    with pytest.raises(ArtifactError, match="no store here"):
        DistributionStore(tmp_path / "nowhere")


def test_a_store_at_a_url(tmp_path):
    import fsspec

    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11, "uint8", "zstd"))
    memory = fsspec.filesystem("memory")
    for path in tmp_path.iterdir():
        memory.pipe_file(f"/run/qwen/{path.name}", path.read_bytes())
    store = DistributionStore("memory://run/qwen")
    mine = DistributionStore(tmp_path)
    same(store[3], mine[3])
    same(store.slice(5, 50), mine.slice(5, 50))
    same(DistributionStore(tmp_path.as_uri())[7], mine[7])
    data = bytearray(shard_path(tmp_path, 0).read_bytes())
    data[-1] ^= 1
    memory.pipe_file("/run/qwen/shard-00000.safetensors", bytes(data))
    with pytest.raises(ArtifactError, match=r"memory://.*run/qwen/shard-00000") as error:
        DistributionStore("memory://run/qwen").slice(0, mine.ranges[0].stop)
    assert not isinstance(error.value, DamagedError)
    memory.rm("/run/qwen/shard-00001.safetensors")
    with pytest.raises(ArtifactError, match=r"missing\n.*memory://.*shard-00001"):
        DistributionStore("memory://run/qwen")
    memory.rm("/run", recursive=True)


def test_blocks_are_about_64_kib(monkeypatch):
    monkeypatch.undo()
    assert blocks.block_rows([20, 20, 2, 4]) == 3276 and blocks.block_rows([2**20]) == 1
    assert [s.stop - s.start for s in blocks.blocks_of(10, 4)] == [4, 4, 2]


def test_read_shard_is_one_shard_alone(tmp_path):
    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11))
    about = read_shard(shard_path(tmp_path, 1)).about
    assert about.shard[0] == 1 and about.conversations[2] == len(ROWS) and about.rows[2] == sum(ROWS)
    assert about.count == about.rows[1] - about.rows[0] > 0


def test_a_writer_keeps_its_own_shards_alone(tmp_path):
    whole = make_scored(0, ROWS)
    offsets = whole.tokens.offsets
    mine, other = (StoreWriter(tmp_path, offsets, cut(offsets, 20), Encoding(11), mark) for mark in "ab")
    for index, members in enumerate(mine.ranges):
        writer = other if index == 1 else mine
        writer.write_scored(index, whole.slice(members.start, members.stop))
    other.write_scored(0, whole.slice(mine.ranges[0].start, mine.ranges[0].stop))
    shard_path(tmp_path, 3).write_bytes(b"no shard")
    shard_path(tmp_path, 99).write_bytes(shard_path(tmp_path, 1).read_bytes())
    assert mine.missing() == []
    assert mine.keep_own() == [0, 1, 3]
    assert len(list(tmp_path.iterdir())) == len(mine.ranges) - 3
