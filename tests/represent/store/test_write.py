"""The writer: empty slots, ids of the vocabulary alone, its own shards alone; plain shards are plain safetensors files."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from fusionchat.errors import ArtifactError
from fusionchat.represent.store.cut import cut
from fusionchat.represent.store.layout import Encoding, shard_path
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter, write_store
from fusionchat.represent.topk import TopK
from tests.build import make_scored

ROWS = [3, 0, 2, 7, 1] * 12


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few rows."""
    monkeypatch.setattr("fusionchat.represent.store.write.block_rows", lambda widths: 4)


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
    shard_path(tmp_path, 98).write_bytes(shard_path(tmp_path, 2).read_bytes())  # mine, by another's name
    shard_path(tmp_path, 4).write_bytes(shard_path(tmp_path, 2).read_bytes())
    assert mine.missing() == []
    assert mine.keep_own() == [0, 1, 3, 4]
    assert len(list(tmp_path.iterdir())) == len(mine.ranges) - 4
    fewer = StoreWriter(tmp_path, offsets, mine.ranges[:3], Encoding(11), "a")
    assert fewer.keep_own() == [0, 1, 2]


def test_a_folder_with_the_name_of_a_shard_is_named_and_kept(tmp_path):
    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11))
    offsets = whole.tokens.offsets
    writer = StoreWriter(tmp_path, offsets, cut(offsets, 20), Encoding(11))
    shard_path(tmp_path, 1).unlink()
    (shard_path(tmp_path, 1) / "mine").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="A folder has the name of a shard") as error:
        writer.keep_own()
    assert str(shard_path(tmp_path, 1)) in str(error.value) and (shard_path(tmp_path, 1) / "mine").is_dir()
    with pytest.raises(ArtifactError, match="This shard is damaged: it is a folder"):
        DistributionStore(tmp_path)[:]


def test_the_same_rows_are_the_same_bytes(tmp_path):
    whole = make_scored(0, ROWS)
    for name in ("a", "b"):
        write_store(tmp_path / name, whole, rows=20, encoding=Encoding(11, "uint8", "zstd"))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_full_disk_is_said_and_leaves_no_file(tmp_path, monkeypatch):
    from fusionchat.errors import MachineError

    def full(self, *_):
        raise OSError(28, "No space left on device")

    whole = make_scored(0, [3])
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MachineError, match=r"disk is full\n.*shard-00000"):
        write_store(tmp_path, whole, rows=9, encoding=Encoding(11))
    assert list(tmp_path.iterdir()) == []
