"""Every byte of a shard is under a checksum: whichever one changes, the ordinary reader says so."""

import random

import pytest

from fusionchat.errors import DamagedError
from fusionchat.represent.store.layout import Encoding, header_end, shard_path
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.shard import read_shard
from fusionchat.represent.store.write import write_store
from tests.build import make_scored


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("fusionchat.represent.store.write.block_rows", lambda widths: 4)


def read_all(folder, tokens):
    store = DistributionStore(folder).require(tokens.offsets)
    scored = store.scored(tokens, 0, len(store))
    return scored, store.column("present", 0, len(store))


@pytest.mark.parametrize("encoding", [Encoding(11), Encoding(70_000, "uint8", "zstd")], ids=str)
def test_a_changed_byte_is_found_wherever_it_is(tmp_path, encoding):
    rows = [3, 0, 2, 7]
    whole = make_scored(0, rows, present=[True, False] * 6)
    write_store(tmp_path, whole, rows=99, encoding=encoding)
    path = shard_path(tmp_path, 0)
    good = path.read_bytes()
    read_all(tmp_path, whole.tokens)
    generator, fields = random.Random(0), read_shard(path)._head.tensors
    assert {
        "offsets",
        "checksums",
        "root",
        "ids",
        "logprobs",
        "tail",
        "label_logprob",
        "present",
    } <= fields.keys()
    end = header_end(good)
    places = [
        *range(8),
        *range(8, end, 5),
        *range(end - 3, len(good)),
    ]  # header, its padding, index, root, blocks
    for place in places:
        bad = bytearray(good)
        bad[place] ^= generator.randrange(1, 256)
        path.write_bytes(bad)
        with pytest.raises(DamagedError, match="shard-00000"):
            read_all(tmp_path, whole.tokens)
    path.write_bytes(good)
    read_all(tmp_path, whole.tokens)


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b), lambda b: b + b"\0", lambda b: b[:-1],
               lambda b: b[:7], lambda b: b"\2" + bytes(7) + b"[]" + b[8:]],
)  # fmt: skip
def test_what_is_no_shard_is_named(tmp_path, damage):
    whole = make_scored(0, [3])
    write_store(tmp_path, whole, rows=99, encoding=Encoding(11))
    path = shard_path(tmp_path, 0)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match="shard-00000"):
        read_all(tmp_path, whole.tokens)


def test_a_number_of_the_header_without_end_is_damage(tmp_path):
    """One byte of ``12345678`` makes ``1e345678`` of it, which JSON takes for infinity."""
    whole = make_scored(0, [3])
    write_store(tmp_path, whole, rows=99, encoding=Encoding(11))
    path = shard_path(tmp_path, 0)
    good = path.read_bytes()
    at = good.index(b"data_offsets") + len(b'data_offsets":[')
    path.write_bytes(good[:at] + b"1e999,0" + good[at + 7 :])
    with pytest.raises(DamagedError, match="changed since it was written"):
        read_shard(path)


ROWS = [3, 0, 2, 7, 1] * 12


def test_read_shard_is_one_shard_alone(tmp_path):
    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11))
    about = read_shard(shard_path(tmp_path, 1)).about
    assert about.shard[0] == 1 and about.conversations[2] == len(ROWS) and about.rows[2] == sum(ROWS)
    assert about.count == about.rows[1] - about.rows[0] > 0


def test_a_block_is_checked_once(tmp_path, monkeypatch):
    whole = make_scored(0, [40])
    write_store(tmp_path, whole, rows=99, encoding=Encoding(11))
    store = DistributionStore(tmp_path)
    store[0]
    monkeypatch.setattr(
        "fusionchat.represent.store.shard.checksum", lambda data: pytest.fail("a second look")
    )
    assert store[0].rows == 40
