from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from fusionchat import console
from fusionchat.report import terminal
from fusionchat.report.captures import capture_tables
from fusionchat.report.headline import headline
from fusionchat.report.results import result_tables
from fusionchat.report.tables import Cell, Table
from tests.report.sample import DOMAINS, report

REPORT = report()


def printed(part: terminal.TerminalTable, width: int, monkeypatch: pytest.MonkeyPatch, capsys) -> list[str]:
    monkeypatch.setattr(console, "_out", Console(width=width, highlight=False))
    title, columns, rows, caption, marked, strong, left = part
    console.table(title, columns, rows, caption=caption, marked=marked, strong=strong, left=left)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_tables_fit_and_stay_aligned(width, monkeypatch, capsys):
    for part in terminal.terminal_tables(REPORT, width):
        lines = printed(part, width, monkeypatch, capsys)
        grid = [line for line in lines if line and line[0] in "┏┃┡│└"]
        assert {cell_len(line) for line in grid} == {cell_len(grid[0])}
        assert cell_len(grid[0]) <= width
        # One line a row: nothing was folded.
        assert sum(line.startswith("│") for line in grid) == len(part.rows)
        places = [[i for i, c in enumerate(line) if c == "│"] for line in grid if line.startswith("│")]
        assert all(place == places[0] for place in places)


def test_columns_of_text_are_left_in_every_part():
    parts = terminal.fit(capture_tables(REPORT)[0], 60)
    assert [part.left for part in parts] == [(0, 1, 2), (0,)]


def test_captures_come_first_and_results_last():
    titles = [part.title.removesuffix(" (continued)") for part in terminal.terminal_tables(REPORT, 200)]
    assert titles[:3] == ["Captures", "Captured distributions", "Captured text by domain"]
    assert titles[3] == "Results" and titles[-1] == "What could be seen"


def test_figures_of_a_column_are_aligned_at_their_errors(monkeypatch, capsys):
    part = terminal.fit(result_tables(REPORT)[1], 100)[0]
    for index in range(1, len(part.columns)):
        figures = [row[index].removeprefix("*") for row in part.rows]
        assert len({figure[::-1].index("±") for figure in figures}) == 1


@pytest.mark.parametrize(("terminal_width", "room"), [(70, 70), (100, 100), (180, 100)])
def test_the_terminal_s_width_is_used_up_to_a_hundred(terminal_width, room, monkeypatch):
    monkeypatch.setattr(console, "_out", Console(width=terminal_width))
    assert terminal.terminal_tables(REPORT) == terminal.terminal_tables(REPORT, room)


def test_paragraphs_fit_and_lose_no_word(monkeypatch):
    monkeypatch.setattr(console, "_out", Console(width=60))
    lines = terminal.paragraph(headline(REPORT)).split("\n")
    assert len(lines) > 3 and max(map(len, lines)) <= 60
    assert " ".join(lines) == headline(REPORT)


def test_all_columns_come_once_and_in_order():
    for table in result_tables(REPORT):
        parts = terminal.fit(table, 100)
        names = [name.replace("\n", " ") for part in parts for name in part.columns[1:]]
        assert tuple(names) == table.columns[1:]
        assert all(part.columns[0] == table.columns[0] for part in parts)
        assert [bool(part.caption) for part in parts] == [False] * (len(parts) - 1) + [True]


def test_the_best_is_starred_and_marked():
    part = terminal.fit(result_tables(REPORT)[1], 200)[0]
    assert len(part.marked) >= len(DOMAINS) + 1
    for row, column in part.marked:
        assert part.rows[row][column].startswith("*")
    assert sum(text.startswith("*") for row in part.rows for text in row) == len(part.marked)
    assert "marked *" in part.caption


def test_no_domains_and_no_models_are_fine():
    bare = replace(REPORT, domains=())
    assert [part.title for part in terminal.terminal_tables(bare, 200)][-2:] == [
        "Results",
        "What could be seen",
    ]
    empty = Table("T", ("a", "b"), ())
    assert terminal.fit(empty, 100)[0].rows == ()


@given(st.lists(st.integers(1, 30), min_size=2, max_size=20), st.integers(20, 120))
def test_split_keeps_every_column_and_the_width(widths, width):
    groups = terminal.split(widths, width)
    assert [i for group in groups for i in group] == list(range(1, len(widths)))
    for group in groups:
        total = terminal.BORDER + sum(widths[i] + terminal.PADDING for i in (0, *group))
        assert total <= width or len(group) == 1


def test_groups_are_even():
    groups = terminal.split([10] * 10, 10 + 3 + 1 + 6 * 13)
    assert [len(group) for group in groups] == [5, 4]


def test_wide_characters_are_counted_as_two():
    table = Table("T", ("a", "b"), ((Cell("表"), Cell("1")), (Cell("xy"), Cell("22"))))
    assert terminal.fit(table, 12) == terminal.fit(table, 13)
    assert terminal.fit(table, 12)[0].rows == (("表", "1"), ("xy", "22"))


@pytest.mark.parametrize(
    ("name", "room", "shown"),
    [
        ("gain over sft", 20, "gain over sft"),
        ("gain over sft", 8, "gain\nover sft"),
        ("humanities", 3, "humanities"),
        ("bits per byte", 5, "bits per\nbyte"),
    ],
)
def test_names_wider_than_their_figures_take_two_lines(name, room, shown):
    assert terminal.two_lines(name, room) == shown
