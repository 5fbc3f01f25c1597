from dataclasses import replace

import pytest

from fusionchat.evaluate.power import detectable
from fusionchat.evaluate.statistics import Breakdown, Estimate
from fusionchat.report import markdown, results, tables
from fusionchat.report.headline import headline
from fusionchat.report.html import shown
from fusionchat.report.model import Result, Row
from fusionchat.report.terminal import plain
from tests.report.sample import BITS, DOMAINS, MATCH, report


def column(table: tables.Table, name: str) -> list[tables.Cell]:
    return [row[table.columns.index(name)] for row in table.rows]


def blind(result: Result) -> Result:
    """A result whose training noise nobody knows."""
    gains = result.over_sft and result.over_sft._replace(overall=result.over_sft.overall._replace(t=None))
    return result._replace(over_sft=gains)


def test_the_overall_table_has_every_model_and_both_metrics():
    table = results.overall_table(report())
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
    assert [c.best for c in column(results.overall_table(made), "bits per byte")] == [
        False,
        False,
        True,
        True,
    ]
    assert results.overall_table(made).columns == ("model", "parameters", "bits per byte")
    assert len(results.result_tables(made)) == 1


def test_higher_is_better_for_exact_match():
    cells = column(results.domain_table(report(), MATCH), "overall")
    rows = [row for row in report().compared if row.kind != "source"]
    best = max(row.value(MATCH).overall.value for row in rows)
    expected = [row.kind != "source" and row.value(MATCH).overall.value == best for row in report().compared]
    assert [cell.best for cell in cells] == expected


def test_domain_tables_have_all_domains_after_the_whole():
    assert results.domain_table(report(), BITS).columns == ("model", "overall", *DOMAINS)


def test_gains_show_their_sign_and_only_clear_ones_have_a_tone():
    made = report()
    table = results.gain_table(made, BITS)
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
    table = results.gain_table(made, BITS, "soup")
    assert table.title == "Gain over soup in bits per byte"
    names = [row[0].text for row in table.rows]
    assert "sft soup" not in names and {"sft", "varm", "self-distillation"} <= set(names)
    shown = dict(zip(names, column(table, "overall"), strict=True))["varm"]
    gain = made.row("varm").gain(BITS, "soup").overall
    assert shown.text == f"{gain.value:+.4f} ±{gain.se:.4f}" and shown.tone == "gain"


def test_the_caption_says_where_the_training_noise_is_known_from():
    made = report()
    assert "estimated from the spread of 3 seeds of SFT." in results.overall_table(made).caption
    both = replace(made, seeds=2)
    assert "3 seeds of SFT and of 2 of each target" in results.overall_table(both).caption
    assert "means over 2 seeds" in results.overall_table(both).caption
    fused = replace(made, sft_seeds=1, seeds=2, soup="")
    assert "estimated from the spread of 2 seeds of each target" in results.overall_table(fused).caption
    once = results.overall_table(replace(made, sft_seeds=1, soup="")).caption
    assert "No training was repeated" in once and "none is called clear" in once


def test_single_seeds_are_in_the_overall_table_only():
    made = report()
    assert [r[0].text for r in results.overall_table(made).rows].count("sft seed 2") == 1
    assert "sft seed 2" not in [r[0].text for r in results.domain_table(made, BITS).rows]


def test_models_without_a_measure_show_a_dash():
    rows = (*report().rows, Row("new", "merge"))
    table = results.overall_table(replace(report(), rows=rows))
    assert [cell.text for cell in table.rows[-1]] == ["new"] + 7 * ["-"]


def test_clear_gains_are_marked_in_words_and_signs_everywhere():
    """By colour alone, nobody who sees none would know; the caption of every table that has a mark explains it."""
    made = report()
    for table in (results.overall_table(made), results.gain_table(made, BITS)):
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
    assert "▲" not in results.domain_table(report(), BITS).caption


def test_the_smallest_difference_that_could_be_seen_is_beside_each_gain():
    made = report()
    table = results.seen_table(made)
    gain = made.row("varm").gain(BITS).overall
    assert table.columns[:5] == ("task", "items", "gain over sft", "could be seen", "verdict")
    bits, match = table.rows
    assert [cell.text for cell in bits[:2]] == ["bits per byte", "480"]
    assert float(bits[3].text) == pytest.approx(detectable(gain), abs=6e-5)
    assert bits[4].text == ("clear" if gain.is_clear else "not clear") and match[0].text == "exact match"


def test_a_task_at_its_floor_is_listed_as_such_and_counts_for_nothing():
    made = replace(report(), metrics=(BITS, replace(MATCH, floor=0.5)))
    assert [row[4].text for row in results.seen_table(made).rows][1] == "floor"
    overall = results.overall_table(made)
    assert "exact match (%), floor" in overall.columns
    assert "Exact match is at its floor and not counted: the pivot cannot do it (it has " in overall.caption
    assert "other task" not in headline(made) and "Of 1 other task it is " in headline(report())
    assert "floor" not in results.overall_table(report()).caption


def test_without_training_noise_nothing_is_known_to_be_visible():
    rows = [replace(row, results={n: blind(r) for n, r in row.results.items()}) for row in report().rows]
    made = replace(report(), rows=tuple(rows), sft_seeds=1)
    assert [[row[i].text for i in (3, 4)] for row in results.seen_table(made).rows] == [["-", "unknown"]] * 2
