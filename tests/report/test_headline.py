"""What the headline says: clear gains, intervals, and what it does not claim."""

from dataclasses import replace

from fusionchat.evaluate.noise import Gain
from fusionchat.report import results
from fusionchat.report.headline import headline
from fusionchat.report.model import Result, Row
from fusionchat.report.rows import make_rows
from fusionchat.report.sections import content, facts
from tests.report.sample import BITS, METRICS, models


def with_gain(row: Row, **gain) -> Row:
    """The row with another gain in bits per byte."""
    results = {**row.results, "bits_per_byte": row.results["bits_per_byte"]._replace(**gain)}
    return replace(row, results=results)


def test_the_headline_counts_clear_gains_and_names_losses(sample):
    gain = sample.row("varm").gain(BITS)
    won = [d for d, e in gain.domains.items() if e.value > e.t * e.se]
    lost = [d for d, e in gain.domains.items() if e.value < -e.t * e.se]
    said = headline(sample)
    assert won and lost and f"in {len(won)} of 8 domains" in said
    assert f"loses clearly in {len(lost)} ({', '.join(lost)})" in said


def test_the_headline_gives_intervals_over_sft_and_over_the_soup(sample):
    row, said = sample.row("varm"), headline(sample)
    for gain, name in ((row.gain(BITS), "sft"), (row.gain(BITS, "soup"), "the soup of 3 SFT seeds")):
        value, reach = gain.overall.value, gain.overall.t * gain.overall.se
        low, high = f"{value - reach:.4f}", f"{value + reach:.4f}"
        assert f"{value:.4f} less than {name} (95 % interval {low} to {high})" in said
    assert "Student's t, with training noise from the spread of 3 seeds of SFT." in said
    assert "standard errors" not in said


def test_the_headline_says_what_the_pivot_gains_from_itself(sample):
    """A gain that self-distillation has, too, comes from no source."""
    gain = sample.row("self-distillation").gain(BITS).overall
    words = f"Distilled from itself, without any source, the pivot needs {gain.value:.4f} less than sft"
    assert words in headline(sample)
    rows = tuple(row for row in sample.rows if row.kind != "self")
    assert "itself" not in headline(replace(sample, rows=rows))


def test_without_a_second_seed_nothing_is_called_clear(sample):
    """The noise of training is unknown then; the headline says so, and no gain or loss is coloured."""
    once = tuple(model._replace(runs=model.runs[:1]) for model in models() if model.kind != "soup")
    made = replace(sample, rows=make_rows(once, "varm", METRICS), soup="", sft_seeds=1)
    said = headline(made)
    assert "No training was repeated" in said and "not known to be a difference" in said
    assert "clearly" not in said and "interval" not in said
    tones = [cell.tone for row in results.gain_table(made, BITS).rows for cell in row]
    assert not {"gain", "loss"} & set(tones)
    assert [fact.name for fact in facts(made)].count("gain over soup") == 0


def test_a_loss_is_called_one(sample):
    rows = tuple(
        replace(row, label="varm") if row.label == "pivot" else row
        for row in sample.rows
        if row.label != "varm"
    )
    assert "more than sft" in headline(replace(sample, rows=rows))


def test_a_small_gain_is_not_called_clear(sample):
    row = sample.row("varm")
    gain = row.gain(BITS)._replace(overall=Gain(0.001, 0.001, 99, 0.001, 0.0005, 2.0))
    rows = tuple(with_gain(r, over_sft=gain) if r is row else r for r in sample.rows)
    said = headline(replace(sample, rows=rows))
    assert "0.0010 less than sft (no clear difference, 95 % interval -0.0010 to 0.0030)" in said


def test_a_gain_over_sft_that_the_soup_has_too_is_called_one(sample):
    """What the average of two SFT seeds gives is no gain of fusion."""
    row = sample.row("varm")
    same = row.gain(BITS, "soup")._replace(overall=Gain(-0.0004, 0.0004, 480, 0.0003, 0.0003, 3.0))
    rows = tuple(with_gain(r, over_soup=same) if r is row else r for r in sample.rows)
    said = headline(replace(sample, rows=rows))
    words = "0.0004 more than the soup of 3 SFT seeds (no clear difference, 95 % interval -0.0008 to 0.0016)"
    assert words in said
    assert "not clear" in facts(replace(sample, rows=rows))[2].small


def test_a_run_without_a_baseline_claims_no_gain(sample):
    rows = tuple(
        replace(row, results={name: Result(found.value) for name, found in row.results.items()})
        for row in sample.rows
    )
    made = replace(sample, rows=rows, baseline="", soup="", domains=())
    assert headline(made).endswith("bits per byte of held-out text.")
    assert "gains" not in [section.anchor for section in content(made).sections]
