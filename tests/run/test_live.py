"""What a process says while it works, and when it counts as gone."""

import os
import time

import pytest

from fusionchat import console
from fusionchat.run.live import SILENT, Live, at_work, shown


def mine(attempt=1, began=5.0):
    return Live(node="a", process=os.getpid(), attempt=attempt, began=began)


def wait_for(words, folder):
    until = time.monotonic() + 5
    while time.monotonic() < until:
        found = at_work(folder, "toy/1")
        if found and words in found[0].words:
            return found
        time.sleep(0.005)
    raise AssertionError(f"nobody says {words}")


def test_a_process_says_how_far_it_is_and_nothing_once_it_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionchat.run.live.EVERY", 0.01)
    with console.working("toy 1"), shown(tmp_path, "toy/1", mine()):
        with console.progress("toy 1", 4, "steps") as advance:
            advance(1)
            found = wait_for("25 %", tmp_path)
        assert [(one.node, one.process, one.attempt) for one in found] == [("a", os.getpid(), 1)]
    assert at_work(tmp_path, "toy/1") == [] and not list((tmp_path / "jobs/toy/1").iterdir())


def test_after_an_error_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match="boom"), shown(tmp_path, "toy/1", mine()):
        raise ValueError("boom")
    assert at_work(tmp_path, "toy/1") == []


def test_who_has_begun_it_comes_first_and_who_is_silent_is_gone(tmp_path):
    folder = tmp_path / "jobs/toy/1"
    folder.mkdir(parents=True)
    for name, one in (("a-1", mine(0, 1.0)), ("b-2", mine(2, 9.0)), ("c-3", mine(1, 0.0))):
        (folder / f"live-{name}.status").write_text(one.model_dump_json())
    old = time.time() - SILENT - 1
    os.utime(folder / "live-c-3.status", (old, old))
    (folder / "live-d-4.status").write_text("{")
    assert [one.attempt for one in at_work(tmp_path, "toy/1")] == [2, 0]
