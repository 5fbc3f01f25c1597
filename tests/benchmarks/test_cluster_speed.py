"""The rate of a capture is of the time in which all workers are at work."""

import json
import multiprocessing
import os

import pytest
from benchmarks.cluster_speed import many_conversations, shards_a_second

from benchmarks import cluster_speed
from fusionchat.run.attempts import Attempt


def made(process, *times):
    return [
        Attempt(mark="m", shard=0, attempt=1, node="a", process=process, began=begin, seconds=end - begin)
        for begin, end in times
    ]


def test_shards_count_that_are_made_while_every_worker_is_at_work():
    first = made(1, (0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0))
    late = made(2, (1.5, 2.5), (2.5, 3.5), (3.5, 5.5))
    assert shards_a_second(first, 1) == 4 / 4.0
    assert shards_a_second([*first, *late], 2) == 4 / (4.0 - 1.5)  # each has two from begin to end in it
    with pytest.raises(ValueError, match="1 of 2 workers made shards"):
        shards_a_second(first, 2)


def says_nine(seconds, end, ready):
    ready.wait()
    end.send(9)


def one_dies(seconds, end, ready):
    if int(multiprocessing.current_process().name.rpartition("-")[2]) % 2:  # one of two in a row
        os._exit(1)
    ready.wait()  # for ever


def test_bare_processes_are_counted_together_and_one_that_dies_holds_up_nobody():
    assert cluster_speed.bare(2, says_nine) == 18
    with pytest.raises(RuntimeError, match="bare forward passes has died"):
        cluster_speed.bare(2, one_dies)


def test_no_conversation_is_there_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input/corpus").mkdir(parents=True)
    line = json.dumps({"id": "a", "messages": [{"role": "user", "content": "hello"}]})
    (tmp_path / "input/corpus/train.jsonl").write_text(f"{line}\n")
    many_conversations()
    lines = (tmp_path / cluster_speed.MANY).read_text().splitlines()
    assert len(set(lines)) == len(lines) == cluster_speed.COPIES
    assert json.loads(lines[3]) == {"messages": [{"role": "user", "content": "3 hello"}]}
