"""Who made what and when: lanes of a node, helpers, and the table."""

import re
from dataclasses import replace

import pytest

from fusionchat.report import svg
from fusionchat.report.figures import Span
from fusionchat.report.sections import Key, _time
from fusionchat.report.timeline import lanes, node_table, roles, spans_of, timeline_plot
from tests.report.sample import report

A = Span("represent/qwen", "a", 1, 1, 100.0, 50.0)
B = Span("represent/pivot", "a", 2, 2, 120.0, 10.0)
C = Span("distill/sft", "a", 1, 1, 151.0, 20.0)
D = Span("represent/qwen", "b", 3, 1, 110.0, 30.0, 2)


def who(node, process, attempt, began, seconds):
    return {"node": node, "process": process, "attempt": attempt, "began": began, "seconds": seconds}


def test_a_helper_has_one_span_for_its_shards():
    shards = {"0": who("a", 1, 1, 101, 5), "1": who("b", 3, 1, 110, 10), "2": who("b", 3, 1, 125, 15)}
    assert spans_of("represent/qwen", {**who("a", 1, 1, 100, 50), "shards": shards}) == [A, D]
    assert spans_of("distill/sft", {}) == []


def test_what_a_node_does_at_the_same_time_is_in_lanes():
    assert lanes([C, D, B, A]) == {("a", 0): [A, C], ("a", 1): [B], ("b", 0): [D]}


def test_a_stage_has_one_colour_everywhere():
    assert roles([A, C, B]) == {"represent": "series-1", "distill": "series-2"}


def test_a_bar_has_the_colour_that_the_legend_says_whichever_node_is_first():
    z = replace(A, node="z")  # the plot has it last
    for spans in ([z, C], [C, z]):
        fills = re.findall(r"fill: (#01fe1\d)", timeline_plot(spans).svg)
        assert fills == [svg.role(roles(spans)[stage]) for stage in ("distill", "represent")]


def test_every_stage_of_a_usual_run_has_a_colour_of_its_own():
    stages = ("corpus", "represent", "align", "fuse", "distill", "merge", "evaluate", "adapt")
    assert len(set(roles([replace(A, job=f"{stage}/x") for stage in stages]).values())) == len(stages)


def test_the_table_counts_jobs_shards_and_what_was_done_again():
    rows = [[cell.text for cell in row] for row in node_table([A, B, C, D]).rows]
    assert rows[0][:4] == ["a", "3", "0", "1 min 20 s"] and rows[0][5] == "1"
    assert rows[1][:4] == ["b", "0", "2", "30 s"] and rows[1][4].startswith("42")


@pytest.mark.parametrize(
    ("factor", "unit"), [(1, "seconds"), (10, "minutes"), (1000, "hours"), (10_000, "days")]
)
def test_the_axis_has_a_unit_that_suits_its_length(factor, unit):
    spans = [replace(one, began=one.began * factor, seconds=one.seconds * factor) for one in (A, B, C, D)]
    drawn = timeline_plot(spans)
    assert unit in drawn.svg and drawn.alt == "4 pieces of work on 2 nodes over time" and "a, 2" in drawn.svg


def test_a_report_without_it_has_the_times_alone():
    parts = _time(replace(report(), spans=(A,))).parts
    assert [part.title for part in parts] == ["", "By node"] and parts[1].key == (
        Key("series-1", "represent"),
    )
    assert len(_time(report()).parts) == 1
