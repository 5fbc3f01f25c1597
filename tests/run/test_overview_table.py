"""The table of a run: whole where there is room, else without what is least missed, and never wider than the terminal."""

import pytest

from fusionchat.run.overview import Line
from fusionchat.run.overview_table import cut, table, words_of

NODE = "ip-10-0-112-117_f0000123.0a1b2c"
LINES = [
    Line("corpus/corpus", "done", NODE, 12345, 1, 12.3),
    Line("represent/qwen", "running", NODE, 4194303, 2, 3723.0, "45 %, 512 conversations/s, 3 min 05 s left"),
    Line("represent/qwen", "helping", NODE.replace("0a", "7f"), 1234, 0, 3.0, "12 %"),
    Line("distill/qwen@0.1", "failed", NODE, 7, 2, words="The loss of step 12 is not a number in 3 of 4 " + 3 * "conversations "),
    Line("evaluate/test/targets/qwen@0.1", "waiting"),
    Line("evaluate/test/varm@0.1", "to do"),
]  # fmt: skip


def test_without_a_terminal_a_job_is_one_line_with_everything():
    said = table(LINES[:3], None)
    assert said == [
        "job             state    node                             process  attempt        time  progress",
        f"corpus/corpus   done     {NODE}    12345        1        12 s",
        f"represent/qwen  running  {NODE}  4194303        2  1 h 02 min  45 %, 512 conversations/s, 3 min 05 s left",
        f"represent/qwen  helping  {NODE.replace('0a', '7f')}     1234                3.0 s  12 %",
    ]
    assert table(LINES[:3], max(map(len, said))) == said


def test_on_80_columns_names_are_cut_in_the_middle_and_progress_and_errors_are_below():
    assert table(LINES, 80) == [
        "job                             state    node                               time",
        "corpus/corpus                   done     ip-10-0-112-1…000123.0a1b2c        12 s",
        "represent/qwen                  running  ip-10-0-112-1…000123.0a1b2c  1 h 02 min",
        "    attempt 2, 45 %, 512 conversations/s, 3 min 05 s left",
        "represent/qwen                  helping  ip-10-0-112-1…000123.7f1b2c       3.0 s",
        "    12 %",
        "distill/qwen@0.1                failed   ip-10-0-112-1…000123.0a1b2c",
        "    attempt 2: The loss of step 12 is not a number in 3 of 4 conversations",
        "    conversations conversations",
        "evaluate/test/targets/qwen@0.1  waiting",
        "evaluate/test/varm@0.1          to do",
    ]


def test_short_names_stay_beside_their_progress():
    lines = [Line("represent/qwen", "running", "host.0a1b2c", 4194303, 2, 63.0, "45 %, 3 min left")]
    assert table(lines, 80) == [
        "job             state    node               time  progress",
        "represent/qwen  running  host.0a1b2c  1 min 03 s  attempt 2, 45 %, 3 min left",
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width):
    assert max(map(len, table(LINES, width))) <= width


def test_names_are_cut_where_they_are_too_long():
    assert cut("abcdefghij", 10) == "abcdefghij" and cut("abcdefghij", 7) == "abc…hij"
    assert cut("abcdefghij", 6) == "abc…ij"


def test_only_a_later_attempt_is_named():
    assert words_of(Line("a", "running", attempt=1, words="4 %")) == "4 %"
    assert words_of(Line("a", "stopped", attempt=3)) == "attempt 3"
    assert words_of(Line("a", "helping", words="4 %")) == "4 %"
