"""Each rule with figures that call for it, and with some that do not."""

import pytest

from fusionchat.evaluate.noise import Gain, Gains
from fusionchat.evaluate.statistics import Breakdown, Estimate
from fusionchat.evaluate.tasks import METRICS
from fusionchat.report import advice as rules
from fusionchat.report.figures import Choice, Pair, Reject, SweepPoint
from fusionchat.report.model import Report, Result, Row

BITS, MATCH = METRICS["bits_per_byte"], METRICS["exact_match"]
CLEAR = Gain(0.01, 0.002, 250, 0.001, 0.0017, 4.2, 2)


def row(label, kind, value, over_sft=None, over_soup=None, **domains) -> Row:
    def gains(one):
        return None if one is None else Gains(one, domains)

    found = Result(Breakdown(Estimate(value, 0.01, 250), {}), gains(over_sft), gains(over_soup))
    return Row(label, kind, 1, {"bits_per_byte": found})


def report(
    *more: Row, fused: Gain = CLEAR, soup: Gain = CLEAR, pivot: Gain | None = None, lost=(), **changes
) -> Report:
    rows = (
        row("pivot", "pivot", 1.0, pivot or Gain(-0.1, 0.01, 250, 0.01, 0.001, 2.0, 2)),
        row("SFT", "sft", 0.81),
        row("SFT soup", "soup", 0.805),
        row(
            "varm, λ 0.9",
            "merge",
            0.8,
            fused,
            soup,
            **{name: Gain(-0.1, 0.01, 60, 0.01, 0.001, 2.0, 2) for name in lost},
        ),
        *more,
    )
    plain = {"baseline": "SFT", "soup": "SFT soup", "sft_seeds": 3, "label_weight": 0.9} | changes
    return Report("x", "", (BITS, MATCH), rows, fused="varm, λ 0.9", **plain)


def said(rule, made: Report) -> str:
    """What a rule says; nothing is ""."""
    return " | ".join(rule(made))


def test_a_run_without_a_fault_is_given_no_advice():
    assert rules.advice(report()) == ()


def test_the_most_telling_are_shown_and_no_more_than_a_handful():
    pairs = tuple(Pair(f"s{i}", 1, 1, 0, 0, 1, 0.5, 0.0) for i in range(9))
    found = rules.advice(report(pairs=pairs, sft_seeds=1, soup=Gain(-1, 1, 250, 1, 0.1, 2, 2)))
    assert len(found) == rules.MOST
    assert [one.rule for one in found[:3]] == [
        "no_better_than_the_soup",
        "nothing_was_repeated",
        "alignment_loses",
    ]


def test_a_gain_below_its_error_asks_for_data_or_a_lighter_label():
    weak = Gain(0.0012, 0.002, 250, 0.001, 0.0017, 4.2, 2)
    expected = (
        "The gain over SFT (0.0012 bits per byte) is below its error (0.0020 bits per byte): use more data"
    )
    assert said(rules.gain_below_its_error, report(fused=weak)) == f"{expected}, or a label weight of 0.5."
    assert said(rules.gain_below_its_error, report(fused=weak, label_weight=0.5)) == f"{expected}."
    assert said(rules.gain_below_its_error, report()) == ""


def test_an_unclear_gain_asks_for_what_its_error_is_made_of():
    trained = Gain(0.004, 0.002, 250, 0.0005, 0.0019, 4.2, 2)
    assert said(rules.gain_below_its_error, report(fused=trained)) == (
        "The gain over SFT is not clear, mostly because trainings differ: with 3 seeds it has to be 4.2 times its error. "
        "Use more seeds."
    )
    sampled = Gain(0.003, 0.002, 250, 0.002, 0.0001, 2.0, 2)
    found = said(rules.gain_below_its_error, report(fused=sampled))
    assert (
        "about 444 dialogues would show a gain of this size, it has 250" in found
    )  # 250 (2 * 0.002 / 0.003)^2


def test_nothing_repeated():
    unknown = Gain(0.01, 0.002, 250, 0.002)
    found = said(rules.nothing_was_repeated, report(fused=unknown, sft_seeds=1))
    assert found == "Nothing was trained twice, so no gain can be called clear: set `compare.sft_seeds` to 3."
    assert said(rules.nothing_was_repeated, report()) == ""
    assert said(rules.nothing_was_repeated, report(baseline="", sft_seeds=1)) == ""


def test_fine_tuning_or_fusion_that_harms():
    harms = report(pivot=Gain(0.05, 0.01, 250, 0.01, 0.001, 2.0, 2))
    assert said(rules.fine_tuning_harms, harms).startswith(
        "SFT is worse than the pivot it started from, by 0.0500 bits per byte: lower `distill.learning_rate`"
    )
    assert said(rules.fine_tuning_harms, report()) == ""
    worse = report(fused=CLEAR._replace(value=-0.02))
    assert said(rules.fusion_harms, worse).startswith(
        "The fused model is worse than SFT, by 0.0200 bits per byte: raise"
    )
    assert said(rules.fusion_harms, report()) == ""


def test_sources_that_are_no_better_than_sft_are_fine_tuned_first():
    weak, sources = CLEAR._replace(value=0.001), (row("qwen", "source", 0.9), row("gemma", "source", 0.82))
    found = said(rules.sources_do_not_know_the_text, report(*sources, fused=weak))
    assert (
        found
        == "No source predicts this text better than SFT: fine-tune them on the corpus first (`adapt: {}`)."
    )
    for quiet in (
        report(*sources),  # the gain is clear as it is
        report(fused=weak),
        report(*sources, row("smol", "source", 0.7), fused=weak),
        report(*sources, row("qwen, adapted", "adapted", 0.7), fused=weak),
    ):
        assert said(rules.sources_do_not_know_the_text, quiet) == ""


@pytest.mark.parametrize(("value", "says"), [(-0.001, True), (0.0, True), (0.001, False)])
def test_no_better_than_the_soup(value, says):
    found = said(rules.no_better_than_the_soup, report(soup=CLEAR._replace(value=value)))
    assert found.startswith("The fused model is no better than the soup of 3 SFT seeds") == says


def test_no_better_than_its_best_target():
    targets = row("target a, λ 0.9", "target", 0.79), row("target b, λ 0.9", "target", 0.82)
    assert said(rules.no_better_than_a_target, report(*targets)) == (
        "The merge is no better than its best target: use target a, λ 0.9 alone, or let `search` try other merges."
    )
    better = row("target a", "target", 0.83), row("target b", "target", 0.82)
    assert said(rules.no_better_than_a_target, report(*better)) == ""
    assert said(rules.no_better_than_a_target, report(targets[0])) == ""  # one target is no merge


def test_a_source_that_won_little_in_every_domain_is_left_out():
    choices = (
        Choice("a", "min_ce", ("pivot", "a"), {"code": (0.96, 0.04), "math": (0.98, 0.02)}),
        Choice("b", "min_ce", ("pivot", "b"), {"code": (0.98, 0.02), "math": (0.4, 0.6)}),
    )
    assert said(rules.source_won_little, report(choices=choices)) == (
        "Source a won at most 4 % of the rows of any domain: leave it out."
    )


def test_an_alignment_that_loses_much():
    pairs = (
        Pair("a", 1, 1, 0, 0, 1, 0.83, 0.0),
        Pair("b", 1, 1, 0, 0, 1, 0.95, 0.0),
        Pair("c", 1, 1, 0, 0, 1, None, 0.0),
    )
    assert said(rules.alignment_loses, report(pairs=pairs)).startswith(
        "Alignment loses much of source a (retention 0.83): try another `align.vocabulary`"
    )


def test_self_distillation_that_is_as_good():
    assert "from itself gains as much" in said(rules.self_is_as_good, report(row("self", "self", 0.8)))
    assert said(rules.self_is_as_good, report(row("self", "self", 0.801))) == ""


def test_validation_and_test_that_disagree():
    sweep = tuple(
        SweepPoint("varm", w, Estimate(0.8, 0.01, 50), chosen) for w, chosen in ((0.9, True), (0.5, False))
    )
    other = row("varm, λ 0.5", "merge", 0.79)
    assert said(rules.validation_and_test_disagree, report(other, sweep=sweep)) == (
        "Validation and test disagree: label weight 0.9 was chosen, 0.5 is better on test. Use a larger validation part."
    )
    assert (
        said(rules.validation_and_test_disagree, report(row("varm, λ 0.5", "merge", 0.81), sweep=sweep)) == ""
    )
    assert said(rules.validation_and_test_disagree, report(sweep=sweep)) == ""


def test_domains_that_are_lost():
    assert "worse than SFT in roleplay, math: keep" in said(
        rules.domains_are_lost, report(lost=("roleplay", "math"))
    )
    assert said(rules.domains_are_lost, report()) == ""


def test_many_rejected_records():
    rejects = Reject("corpus", "no assistant turn", 300, 2400), Reject("corpus", "too long", 3, 2400)
    assert said(rules.records_are_rejected, report(rejects=rejects)) == (
        "12 % of the records were not used (no assistant turn): `fusionchat check` shows them."
    )


def test_a_task_at_its_floor():
    made = report()
    result = Result(Breakdown(Estimate(0.012, 0.01, 250), {}))
    pivot = Row("pivot", "pivot", 1, {**made.rows[0].results, "exact_match": result})
    low = Report("x", "", (BITS, MATCH), (pivot, *made.rows[1:]), "SFT", "varm, λ 0.9", sft_seeds=3)
    assert low.floored == (MATCH,) and low.floor_words(MATCH) == "it has 1.2 %, under 5 %"
    assert said(rules.at_the_floor, low).startswith(
        "Exact match is too hard for the pivot (it has 1.2 %, under 5 %)"
    )
    assert made.floored == () and said(rules.at_the_floor, made) == ""


def test_figures_are_in_the_metric_s_unit():
    assert rules.figure(-0.0012, BITS) == "0.0012 bits per byte"
    assert rules.figure(0.0123, MATCH) == "1.23 percentage points"
