"""Who has worked on a job and its shards: every beginning counts, and whoever ends well is its maker."""

import os

import pytest

from fusionchat.host import this_host
from fusionchat.run.attempts import NODE, Attempt, Record, attempts, makers, node_here


def test_a_job_that_was_begun_twice_was_made_by_the_second_attempt(tmp_path, monkeypatch):
    monkeypatch.setenv(NODE, "a")
    with pytest.raises(ValueError, match="died"), Record(tmp_path, "toy/1", "m").attempted():
        raise ValueError("died")
    monkeypatch.setenv(NODE, "b")
    with Record(tmp_path, "toy/1", "m").attempted() as mine:
        assert (mine.attempt, mine.node, mine.process, mine.shard) == (2, "b", os.getpid(), None)
    found = attempts(tmp_path, "toy/1", "m")
    assert [(one.attempt, one.node, one.seconds is None) for one in found] == [
        (1, "a", True),
        (2, "b", False),
    ]
    made = makers(tmp_path, "toy/1", "m")
    assert {key: made[key] for key in ("node", "process", "attempt")} == {
        "node": "b",
        "process": os.getpid(),
        "attempt": 2,
    }
    assert made["began"] == round(mine.began, 3) and 0 <= made["seconds"] < 5 and "shards" not in made


def test_shards_are_counted_apart_and_are_in_the_manifest_with_their_makers(tmp_path):
    record = Record(tmp_path, "toy/1", "m")
    with record.attempted():
        for shard in (0, 3, 3):
            with record.attempted(shard):
                pass
    shards = makers(tmp_path, "toy/1", "m")["shards"]
    assert {shard: who["attempt"] for shard, who in shards.items()} == {"0": 1, "3": 2}


def test_another_fingerprint_and_a_line_that_was_cut_off_do_not_count(tmp_path):
    with Record(tmp_path, "toy/1", "old").attempted():
        pass
    path = next((tmp_path / "jobs/toy/1").glob("attempts-*.jsonl"))
    assert path.name == f"attempts-{this_host()}-{os.getpid()}.jsonl"
    path.write_text(path.read_text() + '{"mark": "new", "sha\n')
    assert attempts(tmp_path, "toy/1", "new") == [] and makers(tmp_path, "toy/1", "new") == {}
    with Record(tmp_path, "toy/1", "new").attempted() as mine:
        assert mine.attempt == 1


def test_the_attempts_of_others_count_and_no_line_is_read_twice(tmp_path, monkeypatch):
    def line(shard):
        one = Attempt(mark="m", shard=shard, attempt=4, node="b", process=7, began=1.0)
        return one.model_dump_json() + "\n"

    read, parse = [], Attempt.model_validate_json
    monkeypatch.setattr(Attempt, "model_validate_json", lambda line: read.append(line) or parse(line))
    record, other = Record(tmp_path, "toy/1", "m"), tmp_path / "jobs/toy/1/attempts-other-7.jsonl"
    other.parent.mkdir(parents=True)
    for shard in range(20):
        other.write_text("".join(map(line, range(shard + 1))) + line(shard + 1)[:9])  # it is writing the next
        with record.attempted(shard) as mine:
            assert mine.attempt == 5
    assert [one.attempt for one in record.attempts()] == 20 * [4, 5]
    assert len(read) == len(set(read)) == 3 * 20


def test_a_node_is_its_host_where_no_engine_names_it(monkeypatch):
    monkeypatch.delenv(NODE, raising=False)
    assert node_here() == this_host()
