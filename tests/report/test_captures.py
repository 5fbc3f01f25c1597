"""The tables of captures: by what, how far from transformers, how peaked, how well each domain is known."""

from dataclasses import replace

from fusionchat.report.captures import capture_domain_table, capture_table, capture_tables, spread_table
from fusionchat.report.markdown import table as markdown_table
from fusionchat.report.model import Report
from tests.report.sample import DOMAINS, captures

REPORT = Report("x", "2026-01-02T00:00:00", (), (), "", "", captures=captures())


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_by_what_each_model_was_captured():
    table = capture_table(REPORT)
    assert texts(table) == [
        ["pivot", "transformers 5.24.0", "bfloat16", "151 K", "12,345", "0.012", "0.34"],
        ["source_a", "endpoint 0.32.0", "the server's", "149 K", "-", "-", "-"],
    ]
    assert table.aligned_left == (True, True, True, False, False, False, False)
    assert "Not compared: source_a (its weights are not here)." in table.caption
    assert table.caption.endswith("pivot: 2 shards ran out of memory and used smaller batches.")


def test_how_peaked_each_model_is():
    table = spread_table(REPORT)
    assert table.columns[3] == "mass in top 10"
    assert texts(table) == [
        ["pivot", "0.812", "1.23", "97.1 %", "7", "1,204"],
        ["source_a", "0.750", "-", "98.0 %", "-", "-"],
    ]
    assert "the full softmax of 1,000 rows" in table.caption and "A dash: the program" in table.caption
    first, _ = REPORT.captures
    assert "A dash" not in spread_table(replace(REPORT, captures=(first,))).caption
    none = replace(first, sampled_rows=0, entropy=None)
    assert "drawn at random" not in spread_table(replace(REPORT, captures=(none,))).caption


def test_how_well_each_domain_is_known():
    table = capture_domain_table(REPORT)
    assert table.columns == ("domain", "pivot", "source_a")
    rows = {name: tuple(figures) for name, *figures in texts(table)}
    assert list(rows) == ["overall", *sorted(DOMAINS)]
    assert (rows["overall"], rows["math"], rows["writing"]) == (
        ("0.812", "0.750"),
        ("0.750", "0.500"),
        ("0.600", "-"),
    )


def test_models_that_were_not_compared_are_named_once_for_each_reason():
    first, second = REPORT.captures
    others = tuple(replace(second, label=name, unchecked=why) for name, why in (("b", "x y"), ("c", "x y")))
    caption = capture_table(replace(REPORT, captures=(first, second, *others))).caption
    assert "Not compared: source_a (its weights are not here). Not compared: b, c (x y)." in caption


def test_names_in_a_heading_are_shown_as_they_are_in_markdown():
    assert markdown_table(capture_domain_table(REPORT)).startswith("| domain | pivot | source\\_a |\n")


def test_what_has_nothing_to_say_is_left_out():
    assert [table.title for table in capture_tables(REPORT)] == [
        "Captures", "Captured distributions", "Captured text by domain",
    ]  # fmt: skip
    single = tuple(replace(one, domains={"(none)": 0.5}) for one in REPORT.captures)
    assert len(capture_tables(replace(REPORT, captures=single))) == 2
    assert capture_tables(replace(REPORT, captures=())) == []
