"""Who has worked on a job and its shards: every beginning counts, and whoever ends well is its maker."""

import os

import pytest

from fusionchat.host import this_host
from fusionchat.run.attempts import NODE, attempted, attempts, makers, node_here


def test_a_job_that_was_begun_twice_was_made_by_the_second_attempt(tmp_path, monkeypatch):
    monkeypatch.setenv(NODE, "a")
    with pytest.raises(ValueError, match="died"), attempted(tmp_path, "toy/1", "m"):
        raise ValueError("died")
    monkeypatch.setenv(NODE, "b")
    with attempted(tmp_path, "toy/1", "m") as mine:
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
    with attempted(tmp_path, "toy/1", "m"):
        for shard in (0, 3, 3):
            with attempted(tmp_path, "toy/1", "m", shard):
                pass
    shards = makers(tmp_path, "toy/1", "m")["shards"]
    assert {shard: who["attempt"] for shard, who in shards.items()} == {"0": 1, "3": 2}


def test_another_fingerprint_and_a_line_that_was_cut_off_do_not_count(tmp_path):
    with attempted(tmp_path, "toy/1", "old"):
        pass
    path = next((tmp_path / "jobs/toy/1").glob("attempts-*.jsonl"))
    assert path.name == f"attempts-{this_host()}-{os.getpid()}.jsonl"
    path.write_text(path.read_text() + '{"mark": "new", "sha\n')
    assert attempts(tmp_path, "toy/1", "new") == [] and makers(tmp_path, "toy/1", "new") == {}
    with attempted(tmp_path, "toy/1", "new") as mine:
        assert mine.attempt == 1


def test_a_node_is_its_host_where_no_engine_names_it(monkeypatch):
    monkeypatch.delenv(NODE, raising=False)
    assert node_here() == this_host()
