"""Writing the fused model: in order, hidden until it is whole, taken up again after a crash."""

import hashlib
import json
from collections import namedtuple

import numpy as np
import pytest

from fusionchat.errors import MachineError, MergeError
from fusionchat.merge.inputs.plan import TensorJob, layout
from fusionchat.merge.stream import output
from fusionchat.merge.stream.output import JOURNAL, WORK, Output, sweep

JOBS = [TensorJob(name, (10,)) for name in "abcd"]
SHARDS = layout(JOBS, "float32", 80)
"""Two files of two tensors of 40 bytes."""


def values(n):
    return np.full(10, n, np.float32)


def opened(folder, mark="mark", overwrite=False):
    return Output(folder, SHARDS, mark, "float32", overwrite=overwrite)


def write(out, first, last):
    """Write tensors first .. last - 1."""
    for n in range(first, last):
        out.write(values(n)[:4])
        out.write(values(n)[4:])
        out.end_tensor({"name": JOBS[n].name, "n": n})


def expected(shard, *numbers):
    return shard.header + b"".join(values(n).tobytes() for n in numbers)


def test_files_appear_when_all_is_written(tmp_path):
    out = opened(tmp_path / "m")
    write(out, 0, 4)
    assert [path.name for path in (tmp_path / "m").iterdir()] == [WORK]
    out.publish()
    out.close()
    out.finish()
    contents = [expected(SHARDS[0], 0, 1), expected(SHARDS[1], 2, 3)]
    found = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    assert found == dict(zip([shard.file for shard in SHARDS], contents, strict=True))
    assert out.files == {name: hashlib.sha256(raw).hexdigest() for name, raw in found.items()}
    assert [entry["n"] for entry in out.entries] == [0, 1, 2, 3]


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_an_interrupted_merge_goes_on_behind_its_finished_tensors(tmp_path, stop):
    first = opened(tmp_path / "m")
    write(first, 0, stop)
    if stop == 1:
        first.write(values(9)[:5])  # half of a tensor
    first.close()
    again = opened(tmp_path / "m")
    assert again.finished <= stop and again.entries == first.entries[: again.finished]
    assert again.finished >= (2 if stop >= 2 else 0)
    write(again, again.finished, 4)
    again.publish()
    again.close()
    again.finish()
    for shard, numbers in zip(SHARDS, [(0, 1), (2, 3)], strict=True):
        assert (tmp_path / "m" / shard.file).read_bytes() == expected(shard, *numbers)
        assert again.files[shard.file] == hashlib.sha256(expected(shard, *numbers)).hexdigest()


def test_another_merge_s_work_is_cleared_away_if_that_is_asked_for(tmp_path):
    first = opened(tmp_path / "m")
    write(first, 0, 3)
    first.close()
    other = opened(tmp_path / "m", mark="another")
    assert other.finished == 0
    other.close()
    assert opened(tmp_path / "m").finished == 0


def test_a_folder_with_something_in_it_is_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MergeError, match=r"not empty \(notes\.txt\)"):
        opened(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MergeError, match="This folder already has a model"):
        opened(tmp_path)
    out = opened(tmp_path, overwrite=True)
    write(out, 0, 4)
    out.publish()
    out.close()
    out.finish()
    assert (tmp_path / "notes.txt").read_text() == "mine" and not (tmp_path / "config.json").exists()


def test_two_merges_cannot_write_at_once(tmp_path):
    out = opened(tmp_path / "m")
    with pytest.raises(MergeError, match="Another merge is writing"):
        opened(tmp_path / "m", overwrite=True)
    out.close()
    opened(tmp_path / "m").close()


def test_too_little_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: usage(100))
    with pytest.raises(MachineError, match="100 B are free"):
        opened(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_inputs_that_cannot_be_merged_leave_nothing_behind(tmp_path):
    out = opened(tmp_path / "m")
    write(out, 0, 1)
    out.abandon()
    assert not (tmp_path / "m").exists()
    (tmp_path / "there").mkdir()
    opened(tmp_path / "there").abandon()
    assert list((tmp_path / "there").iterdir()) == []


def test_what_a_killed_merge_left_is_swept_if_it_is_the_same(tmp_path):
    out = opened(tmp_path / "m")
    out.close()
    sweep(tmp_path / "m", "another")
    assert (tmp_path / "m" / WORK).is_dir()
    sweep(tmp_path / "m", "mark")
    assert not (tmp_path / "m" / WORK).exists()


@pytest.mark.parametrize("torn", ["", '{"tensor": {"na', "[1]\n", "\xff\n"])
def test_a_torn_end_of_the_journal_is_passed_over(tmp_path, torn):
    first = opened(tmp_path / "m")
    write(first, 0, 2)
    first.close()
    path = tmp_path / "m" / WORK / JOURNAL
    path.write_bytes(path.read_bytes() + torn.encode("latin-1"))
    again = opened(tmp_path / "m")
    assert again.finished == 2
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"mark": "mark"} and lines[3] == {"durable": 2}
    again.close()
