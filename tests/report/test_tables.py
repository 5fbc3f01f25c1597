from dataclasses import replace

import pytest

from fusionchat.evaluate.power import detectable
from fusionchat.evaluate.statistics import Breakdown, Estimate
from fusionchat.report import markdown, tables
from fusionchat.report.html import shown
from fusionchat.report.model import CorpusEntry, MergeFile, MergeTrial, Result, Row
from fusionchat.report.sections import headline
from fusionchat.report.terminal import plain
from tests.report.sample import BITS, DOMAINS, MATCH, report


def column(table: tables.Table, name: str) -> list[tables.Cell]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_the_overall_table_has_every_model_and_both_metrics():
    table = tables.overall_table(report())
    assert table.columns == (
        "model", "parameters", "bits per byte", "gain over sft", "gain over soup", "exact match (%)", "gain over sft",
        "gain over soup",
    )  # fmt: skip
    assert [row[0].text for row in table.rows] == [row.label for row in report().rows]
    assert table.strong == 12 and table.rows[12][0].text == "varm"
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_best_is_sought_among_models_of_the_pivot_s_size():
    rows = (
        Row("p", "pivot", 1, results={"bits_per_byte": Result(Breakdown(Estimate(1.0, 0.1, 5), {}))}),
        Row("s", "source", 9, results={"bits_per_byte": Result(Breakdown(Estimate(0.2, 0.1, 5), {}))}),
        Row("t", "target", 1, results={"bits_per_byte": Result(Breakdown(Estimate(0.7, 0.1, 5), {}))}),
        Row("m", "merge", 1, results={"bits_per_byte": Result(Breakdown(Estimate(0.7, 0.1, 5), {}))}),
    )
    made = replace(report(), metrics=(BITS,), rows=rows, domains=(), baseline="", fused="m")
    assert [c.best for c in column(tables.overall_table(made), "bits per byte")] == [False, False, True, True]
    assert tables.overall_table(made).columns == ("model", "parameters", "bits per byte")
    assert len(tables.result_tables(made)) == 1


def test_higher_is_better_for_exact_match():
    cells = column(tables.domain_table(report(), MATCH), "overall")
    rows = [row for row in report().compared if row.kind != "source"]
    best = max(row.value(MATCH).overall.value for row in rows)
    expected = [row.kind != "source" and row.value(MATCH).overall.value == best for row in report().compared]
    assert [cell.best for cell in cells] == expected


def test_domain_tables_have_all_domains_after_the_whole():
    assert tables.domain_table(report(), BITS).columns == ("model", "overall", *DOMAINS)


def test_gains_show_their_sign_and_only_clear_ones_have_a_tone():
    made = report()
    table = tables.gain_table(made, BITS)
    assert "sft" not in [row[0].text for row in table.rows]
    compared = [row for row in made.rows if row.gain(BITS)]
    for domain in DOMAINS:
        for cell, row in zip(column(table, domain), compared, strict=True):
            gain = row.gain(BITS).domains[domain]
            expected = ("gain" if gain.value > 0 else "loss") if abs(gain.value) > gain.t * gain.se else ""
            assert cell.tone == expected
            assert cell.text[0] in "+-"
    assert table.rows[table.strong][0].text == "varm"


def test_gains_over_the_soup_are_a_table_of_their_own():
    made = report()
    table = tables.gain_table(made, BITS, "soup")
    assert table.title == "Gain over soup in bits per byte"
    names = [row[0].text for row in table.rows]
    assert "sft soup" not in names and {"sft", "varm", "self-distillation"} <= set(names)
    shown = dict(zip(names, column(table, "overall"), strict=True))["varm"]
    gain = made.row("varm").gain(BITS, "soup").overall
    assert shown.text == f"{gain.value:+.4f} ±{gain.se:.4f}" and shown.tone == "gain"


def test_the_caption_says_where_the_training_noise_is_known_from():
    made = report()
    assert "known from the spread of 3 seeds of SFT." in tables.overall_table(made).caption
    both = replace(made, seeds=2)
    assert "3 seeds of SFT and of 2 of each target" in tables.overall_table(both).caption
    assert "means over 2 seeds" in tables.overall_table(both).caption
    fused = replace(made, sft_seeds=1, seeds=2, soup="")
    assert "known from the spread of 2 seeds of each target" in tables.overall_table(fused).caption
    once = tables.overall_table(replace(made, sft_seeds=1, soup="")).caption
    assert "No training was repeated" in once and "none is called clear" in once


def test_single_seeds_are_in_the_overall_table_only():
    made = report()
    assert [r[0].text for r in tables.overall_table(made).rows].count("sft seed 2") == 1
    assert "sft seed 2" not in [r[0].text for r in tables.domain_table(made, BITS).rows]


def test_models_without_a_measure_show_a_dash():
    rows = (*report().rows, Row("new", "merge"))
    table = tables.overall_table(replace(report(), rows=rows))
    assert [cell.text for cell in table.rows[-1]] == ["new"] + 7 * ["-"]


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


def test_clear_gains_are_marked_in_words_and_signs_everywhere():
    """By colour alone, nobody who sees none would know; the caption of every table that has a mark explains it."""
    made = report()
    for table in (tables.overall_table(made), tables.gain_table(made, BITS)):
        marks = {
            (cell.tone, cell.mark) for row in table.rows for cell in row if cell.tone in ("gain", "loss")
        }
        assert marks == {("gain", "▲"), ("loss", "▼")}
        assert "▲ a clear gain, ▼ a clear loss: a 95 % interval by Student's t" in table.caption
        place = next(
            (r, c) for r, row in enumerate(table.rows) for c, cell in enumerate(row) if cell.tone == "gain"
        )
        text = table.rows[place[0]][place[1]].text
        assert f"▲ {text}" in markdown.table(table)
        assert plain(table.rows[place[0]][place[1]]) == f"▲{text}"
        assert '<span class="mark">▲</span> +' in shown(table.rows[place[0]][place[1]])
    loss = next(cell for row in table.rows for cell in row if cell.tone == "loss")
    assert '<span class="mark">▼</span> −' in shown(loss) and plain(loss).startswith("▼-")


def test_a_table_without_marks_explains_none():
    assert "▲" not in tables.domain_table(report(), BITS).caption


def test_the_smallest_difference_that_could_be_seen_is_beside_each_gain():
    made = report()
    table = tables.seen_table(made)
    gain = made.row("varm").gain(BITS).overall
    assert table.columns[:5] == ("task", "items", "gain over sft", "could be seen", "verdict")
    bits, match = table.rows
    assert [cell.text for cell in bits[:2]] == ["bits per byte", "480"]
    assert float(bits[3].text) == pytest.approx(detectable(gain), abs=6e-5)
    assert bits[4].text == ("clear" if gain.is_clear else "not clear") and match[0].text == "exact match"


def test_a_task_at_its_floor_is_listed_as_such_and_counts_for_nothing():
    made = replace(report(), metrics=(BITS, replace(MATCH, floor=0.5)))
    assert [row[4].text for row in tables.seen_table(made).rows][1] == "floor"
    overall = tables.overall_table(made)
    assert "exact match (%), floor" in overall.columns
    assert (
        "Exact match is at its floor and counts for nothing: the pivot cannot do it (it has "
        in overall.caption
    )
    assert "other task" not in headline(made) and "Of 1 other task it is " in headline(report())
    assert "floor" not in tables.overall_table(report()).caption


def test_without_training_noise_nothing_is_known_to_be_visible():
    rows = [replace(row, results={n: blind(r) for n, r in row.results.items()}) for row in report().rows]
    made = replace(report(), rows=tuple(rows), sft_seeds=1)
    assert [[row[i].text for i in (3, 4)] for row in tables.seen_table(made).rows] == [["-", "unknown"]] * 2


def blind(result: Result) -> Result:
    """A result whose training noise nobody knows."""
    gains = result.over_sft and result.over_sft._replace(overall=result.over_sft.overall._replace(t=None))
    return result._replace(over_sft=gains)
