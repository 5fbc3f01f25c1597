"""Long work where there is no terminal: a line at its start, one every 30 seconds, one at its end."""

import time

import pytest

from fusionchat import console, watch
from fusionchat.watch import BAR, Watch, arrange


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("total", "unit", "done", "seconds", "line"),
    [
        (1000, "conversations", 420, 32, "x: 42 %, 13 conversations/s, 44 s left"),
        (1000, "conversations", 0, 31, "x: 0 %, 31 s so far"),
        (3, "shards", 1, 120, "x: 33 %, 0.5 shards/min, 4 min 00 s left"),
        (None, "bytes", 3 * 10**9, 30, "x: 3 GB, 100 MB/s, 30 s so far"),
        (None, "", 0, 95, "x: 1 min 35 s so far"),
        (None, "", 7, 95, "x: 1 min 35 s so far"),
        (10, "steps", 10, 5, "x: 100 %, 2.0 steps/s, 0.0 s left"),
        (999, "steps", 998, 5, "x: 99 %, 200 steps/s, 0.0 s left"),
    ],
)
def test_how_far_it_is(clock, total, unit, done, seconds, line):
    found = Watch("job", print)
    found.step("x", total, unit)
    found.advance(done)
    clock[0] += seconds
    assert found.line() == line


def test_an_interrupted_step_goes_on_where_it_was(clock):
    """Of 10 steps 4 were made before; 3 more in 6 s are 0.5 steps/s, and 3 are left."""
    found = Watch("job", print)
    found.step("x", 10, "steps", before=4)
    assert found.line() == "x: 40 %, 0.0 s so far"
    found.advance(3)
    clock[0] += 6
    assert found.line() == "x: 70 %, 0.5 steps/s, 6.0 s left"


PARTS = ["42 %", "20,104 tokens/s", "2 h 31 min left", "memory 38 GB, GPU 61 GB"]


@pytest.mark.parametrize(
    ("width", "bar", "lines"),
    [
        (200, BAR, [", ".join(PARTS)]),
        (98, 9, [", ".join(PARTS)]),
        (95, 0, [", ".join(PARTS)]),
        (80, 0, ["42 %, 20,104 tokens/s, 2 h 31 min left,", "    memory 38 GB, GPU 61 GB"]),
        (50, 0, ["42 %, 20,104 tokens/s,", "    2 h 31 min left, memory 38 GB, GPU 61 GB"]),
        (28, 0, ["", "    42 %, 20,104 tokens/s,", "    2 h 31 min left,", "    memory 38 GB, GPU 61 GB"]),
    ],
)
def test_a_bar_gives_way_to_words_and_words_go_on_in_the_next_line(width, bar, lines):
    label = "  represent openchat_3.5"
    assert arrange(label, PARTS, width) == (bar, lines)
    assert len(label) + 2 + bar + len(lines[0]) <= width and max(map(len, lines[1:]), default=0) <= width


def test_a_step_s_rate_is_its_own(clock):
    """Loading a model for a minute does not slow down what comes after it."""
    found = Watch("represent qwen", print)
    clock[0] += 60
    assert found.line() == "represent qwen: 1 min 00 s so far"
    found.step("represent qwen", 100, "conversations")
    found.advance(50)
    clock[0] += 10
    assert found.line() == "represent qwen: 50 %, 5.0 conversations/s, 10 s left"


def test_lines_of_a_job_and_the_bars_in_it(monkeypatch, capsys):
    monkeypatch.setattr(watch, "EVERY_S", 0.02)
    with console.working("evaluate varm"):
        with console.progress("evaluate varm", 4, "conversations") as advance:
            advance(1)
            time.sleep(0.1)
        with console.progress("answer varm", 2, "questions") as advance:
            time.sleep(0.1)
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert any(line.startswith("evaluate varm: 25 %, ") and line.endswith(" left") for line in lines)
    assert any(line.startswith("answer varm: 0 %, ") for line in lines)
    assert lines[-1].startswith("evaluate varm: done in 0.") and sum("done" in line for line in lines) == 1


def test_a_bar_of_its_own_says_its_start_and_end(capsys):
    with console.progress("train 1 tiny chat LLM", 3) as advance:
        advance(3)
    said = capsys.readouterr().err.splitlines()
    assert said == ["  train 1 tiny chat LLM", "  train 1 tiny chat LLM: done in 0.0 s"]


def test_what_fails_is_not_said_to_be_done(capsys, monkeypatch):
    monkeypatch.setattr(watch, "EVERY_S", 0.01)
    with pytest.raises(RuntimeError), console.working("merge x"):
        raise RuntimeError
    assert "done" not in capsys.readouterr().err
    time.sleep(0.05)
    assert capsys.readouterr().err == ""
    with console.progress("next", None):
        pass
    assert "next: done" in capsys.readouterr().err
