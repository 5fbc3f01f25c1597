from dataclasses import replace

from fusionchat.report import tables
from fusionchat.report.figures import CorpusEntry, MergeFile, MergeTrial
from fusionchat.report.model import Result
from tests.report.sample import BITS, DOMAINS, report


def column(table: tables.Table, name: str) -> list[tables.Cell]:
    return [row[table.columns.index(name)] for row in table.rows]


def blind(result: Result) -> Result:
    """A result whose training noise nobody knows."""
    gains = result.over_sft and result.over_sft._replace(overall=result.over_sft.overall._replace(t=None))
    return result._replace(over_sft=gains)


def test_alignment_rejects_sweep_and_choices():
    made = report()
    assert [c.text for c in tables.pair_table(made).rows[1]] == [
        "source_b", "byte_prefix", "151 K", "74.2 %", "25.1 %", "0.7 %", "98.1 %", "0.953", "-", "3.2 s",
    ]  # fmt: skip
    assert [c.text for c in tables.reject_table(made).rows[0]] == ["corpus: no assistant turn", "3", "0.1 %"]
    sweep = tables.sweep_table(made)
    assert [[c.text for c in row[:2]] for row in sweep.rows] == [["varm", "0.9"], ["varm", "0.5"]]
    assert [row[2].best for row in sweep.rows] == [False, True]
    choices = tables.choice_table(made)
    assert choices.columns == ("target: domain", "pivot", "source_a", "source_b")
    assert len(choices.rows) == 3 * len(DOMAINS)
    assert choices.rows[0][3].text == "-"


def test_entries_of_the_corpus():
    table = tables.entry_table(report())
    assert table.columns == ("entry", "records", "over the limit", "rejected", "used")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["train.0 code.jsonl.gz", "2,400", "1,398", "2", "1,000"],
        ["train.1 org/maths", "1,400", "not counted", "0", "1,400"],
    ]
    other = CorpusEntry("test t.jsonl", 5, 3, 0, {"filtered out": 2})
    two = tables.entry_table(replace(report(), entries=(*report().entries, other)))
    assert two.columns[2:4] == ("over the limit", "filtered out") and two.rows[2][2].text == "0"


def test_times_add_up_by_stage():
    rows = [[cell.text for cell in row] for row in tables.time_table(report()).rows]
    assert rows[0] == ["represent", "2", "20 s", "23.4 %"]
    assert rows[-1] == ["all", "5", "1 min 25 s", "100.0 %"]


def test_nothing_was_timed_or_rejected():
    empty = replace(report(), stages=(), rejects=())
    assert [c.text for c in tables.time_table(empty).rows[0]] == ["all", "0", "0.0 s", "100.0 %"]
    assert tables.reject_table(empty).rows == ()


def test_a_failed_trial_has_no_score_but_a_reason():
    tried = MergeTrial("varm", 0.5, 2.0, True), MergeTrial("slerp", None, 0.1, False, "needs 1 to 2 targets")
    table = tables.trial_table(replace(report(), trials=tried, trial_metric=BITS))
    assert table.columns == ("merge", "validation bits per byte", "time", "failed because")
    assert [cell.text for cell in column(table, "validation bits per byte")] == ["0.5000", "-"]
    assert [cell.text for cell in column(table, "failed because")] == ["", "needs 1 to 2 targets"]
    assert table.caption.endswith("1 of 2 could not be merged or scored.")
    fine = tables.trial_table(replace(report(), trials=tried[:1], trial_metric=BITS))
    assert len(fine.columns) == 3 and "could not" not in fine.caption


def test_files_are_listed_with_their_checksums_or_without():
    files = (
        MergeFile("pivot", "model.safetensors", 988_097_824, "ab" * 32, "hub cache"),
        MergeFile("source_a", "model.safetensors", 12),
    )
    table = tables.file_table(replace(report(), merge_files=files))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["pivot", "model.safetensors", "988 MB", "ab" * 32, "hub cache"],
        ["source_a", "model.safetensors", "12 B", "not computed", "-"],
    ]
