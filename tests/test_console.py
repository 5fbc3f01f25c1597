"""What is printed, and where to: on a terminal and without one."""

import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

from fusionchat import console


@pytest.fixture
def printed(monkeypatch):
    """Consoles that keep what they print: a function gives (stdout, stderr); with ``terminal`` they are one."""

    def get(terminal=False, width=60):
        streams = []
        for name in ("_out", "_err"):
            streams.append(io.StringIO())
            made = Console(
                file=streams[-1], width=width, highlight=False, emoji=False, force_terminal=terminal,
                color_system="truecolor" if terminal else None,
            )  # fmt: skip
            monkeypatch.setattr(console, name, made)
        return lambda: tuple(stream.getvalue() for stream in streams)

    return get


def test_results_go_to_stdout_and_the_rest_to_stderr(printed):
    said = printed()
    console.say("a [bold]result[/] of " + "x" * 80)
    console.warn("careful [x]")
    console.error("wrong")
    console.note("half done")
    out, err = said()
    assert out == "a [bold]result[/] of " + "x" * 80 + "\n"  # neither markup nor broken lines
    assert err == "warning: careful [x]\nerror: wrong\n  half done\n"


def test_a_muted_console_says_errors_only(printed):
    said = printed()
    console.mute()
    console.say("a result")
    console.error("wrong")
    assert said() == ("", "error: wrong\n")


def test_a_traceback_is_that_of_the_error_being_handled(printed):
    said = printed(width=100)
    try:
        raise ValueError("the cause")
    except ValueError:
        console.traceback()
    assert "ValueError: the cause" in said()[1] and said()[0] == ""


def test_a_terminal_has_colours(printed):
    printed()
    assert not console.is_terminal() and console.width() == 60
    printed(terminal=True)
    assert console.is_terminal()


def test_a_table_has_names_left_and_figures_right(printed):
    said = printed(width=80)
    console.table(
        "Results", ("model", "bits"), [("[pivot]", "1.20"), ("fused", "0.7")], caption="Less is better."
    )
    lines = [line.rstrip() for line in said()[0].splitlines()]
    assert lines[0] == "Results" and lines[-1] == "Less is better."
    assert [line.strip("│ ").split("│") for line in lines if "pivot" in line or "fused" in line] == [
        ["[pivot] ", " 1.20"],
        ["fused   ", "  0.7"],
    ]


def test_a_caption_is_wider_than_a_narrow_table_and_text_columns_are_left(printed):
    said = printed(width=120)
    console.table("T", ("a", "by"), [("x", "me"), ("y", "nobody")], caption="word " * 30, left=(0, 1))
    lines = [line.rstrip() for line in said()[0].splitlines()]
    assert "│ x │ me     │" in lines
    caption = [line for line in lines if line.startswith("word")]
    assert max(map(len, caption)) == 99 and " ".join(caption) == ("word " * 30).strip()


def test_marked_cells_and_the_strong_row_stand_out(printed):
    said = printed(terminal=True)
    console.table(None, ("a", "b"), [("x", "1"), ("y", "2")], marked={(0, 1)}, strong=1)
    out = said()[0]
    assert "\x1b[1;32m1\x1b[0m" in out and "\x1b[1my" in out.replace("\x1b[1m ", "\x1b[1m")
    assert "\x1b[1;32m2" not in out


def test_streamed_text_has_no_line_end(printed, capsys):
    said = printed()
    console.stream("a")
    console.stream("b", style="bold")
    assert capsys.readouterr().out == "a" and said()[0] == "b"


def test_a_line_is_asked_for_and_shown_where_there_is_no_terminal(printed, monkeypatch):
    said = printed()
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\nlast"))
    assert (console.ask("> "), console.ask("> ")) == ("hello", "last")
    assert said()[0] == "> hello\n> last\n"
    with pytest.raises(EOFError):
        console.ask("> ")


def test_without_a_terminal_progress_is_lines_on_stderr(printed):
    said = printed()
    with console.progress("merge", 4, "tensors") as advance:
        advance(1)
        advance(3)
    out, err = said()
    assert out == "" and err.splitlines()[0] == "  merge"
    assert "merge" in err.splitlines()[-1] and len(err.splitlines()) == 2


def test_work_says_how_long_it_took_and_inner_progress_is_its_own(printed):
    said = printed()
    with console.working("align qwen"), console.progress("project", 2, "shards") as advance:
        advance(2)
    (line,) = said()[1].splitlines()
    assert line.startswith("  align qwen") and "project" not in line
    assert console._watch is None


def test_what_watches_is_put_back_after_an_error(printed):
    printed()
    with pytest.raises(ValueError, match="x"), console.working("a"):
        raise ValueError("x")
    assert console._watch is None


@pytest.mark.parametrize(("total", "share"), [(10, "50 %, "), (None, "")])
@pytest.mark.parametrize("width", [100, 40])
def test_a_bar_on_a_terminal(printed, width, total, share):
    said = printed(terminal=True, width=width)
    with (
        console.working("a"),
        console.progress("read it", total, "files", also=lambda: "memory 1 GB") as advance,
    ):
        advance(5)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said()[1])
    line = next(line for line in shown.splitlines() if "files/s" in line)
    assert line.startswith("  read it ━" if width == 100 else "  read it:") and f" {share}" in line
    assert "memory 1 GB" in shown and max(map(len, shown.splitlines())) <= width
    assert shown.splitlines()[-1].startswith("  a: done in ")


def test_nobody_watches():
    assert console.ignore(3) is None


def test_what_a_job_prints_is_not_taken_for_a_line_to_the_engine():
    code = (
        "import os; from fusionchat.console import take_stdout; say = take_stdout(); "
        "print('half a line', end='', flush=True); os.write(1, b'from C'); say('ready')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ready\n"
    assert done.stderr == "half a linefrom C"


def test_pieces_that_stand_out_are_in_guillemets_where_there_is_no_colour(printed):
    said = printed(width=40)
    console.side_by_side("record", {"one": [("the ", False), ("answer", True)], "two": [("[x]", False)]})
    text = said()[0]
    assert "the «answer»" in text and "[x]" in text and "record" in text
    said = printed(terminal=True, width=40)
    console.side_by_side("record", {"one": [("the ", False), ("answer", True)]})
    assert "«" not in said()[0]


def test_a_table_that_is_watched_has_the_terminal_s_columns_and_no_broken_lines(printed):
    said, given = printed(terminal=True, width=30), []

    def lines(width):
        given.append(width)
        return ["1 of 2 jobs [bold] done", 40 * "x"]

    with console.watching(lines):
        pass
    assert given[0] == 30 and "1 of 2 jobs [bold] done" in said()[1] and 29 * "x" + "…" in said()[1]
    said = printed()
    with console.watching(lambda width: 1 / 0):
        assert said() == ("", "")


def test_only_a_terminal_or_the_user_limits_columns(printed, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    printed(width=60)
    assert console.room() is None
    monkeypatch.setenv("COLUMNS", "60")
    assert console.room() == 60
    monkeypatch.delenv("COLUMNS")
    printed(terminal=True, width=30)
    assert console.room() == 30
