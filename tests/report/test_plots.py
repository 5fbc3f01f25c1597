"""The panels: what they show, on which scale, under which names."""

import re
from dataclasses import replace

import pytest

from fusionchat.report import plots, svg
from fusionchat.report.figures import MergeTrial
from tests.report.sample import BITS, DOMAINS, MATCH, report


def test_a_domain_without_values_has_no_panel():
    shown = plots.score_plots(replace(report(), domains=(*report().domains, "unseen")), BITS)
    assert len(shown) == len(report().domains) + 1 and "unseen" not in str([plot.alt for plot in shown])


def test_models_far_off_do_not_hide_the_others():
    rows = [row for row in report().rows if row.value(BITS)]
    found = [(row, row.value(BITS).overall) for row in rows]
    low, high = plots._score_range(found, 1.0)
    assert low < 0.69 and 0.72 < high < 0.8
    drawn = plots.score_plots(replace(report(), domains=()), BITS)[0]
    assert "1.236 ▸" in drawn.svg


def test_gains_share_one_scale_with_zero_inside():
    made = report()
    rows = [row for row in made.rows if row.kind in ("target", "merge")]
    low, high = plots._gain_range(rows, BITS, ("overall", *DOMAINS))
    assert low < 0 < high
    assert plots._gain_range([], BITS, ()) == (-1.0, 1.0)


def test_long_labels_are_cut_for_figures():
    assert plots.short("x" * 60) == "x" * 23 + "…" and plots.short("varm") == "varm"


def test_a_failed_trial_is_drawn_as_one(sample):
    tried = tuple(MergeTrial(f"ties {n}", 0.5 + 0.01 * n, 2.0, n == 0) for n in range(3))
    failed = MergeTrial("slerp", None, 0.1, False, "needs 1 to 2 targets")
    (whole,) = plots.trial_plots(replace(sample, trials=tried, trial_metric=BITS))
    (drawn,) = plots.trial_plots(replace(sample, trials=(*tried, failed), trial_metric=BITS))
    assert ">failed<" in drawn.svg and ">slerp<" in drawn.svg and drawn.alt.endswith("1 failed")
    assert ">failed<" not in whole.svg and "failed" not in whole.alt


def test_the_name_of_an_axis_is_not_cut_at_the_edge():
    """Centred under a short axis, a long name would reach past the figure."""
    long = replace(BITS, name="x", title="length of the replies", unit="tokens")
    rows = tuple(
        replace(row, results={**row.results, "x": row.results["bits_per_byte"]}) for row in report().rows
    )
    for metric, anchor in ((BITS, "middle"), (long, "end")):
        shown = plots.score_plots(replace(report(), rows=rows, domains=()), metric)[0].svg
        (label,) = re.findall(rf"<text style=\"([^\"]*)\"[^>]*>{re.escape(metric.column)}, lower", shown)
        assert f"text-anchor: {anchor}" in label


def test_one_panel_for_all_and_one_for_each_domain():
    made = replace(report(), domains=("math", "Écoding!"))
    names = [plot.name for plot in plots.score_plots(made, MATCH)]
    assert names == ["exact_match-0-overall", "exact_match-1-math"]
    gains = plots.gain_plots(replace(report(), domains=("math",)), BITS, "soup")
    assert [plot.name for plot in gains] == ["gain-over-soup-bits_per_byte-0-varm"]
    assert gains[0].alt == "varm: gain over soup in bits per byte by domain, positive is better"
    assert plots._slug("Écoding! 2") == "-coding--2"


def test_limits_hold_gains_and_their_errors_with_a_margin():
    row = report().row("varm")
    gain = row.gain(BITS)
    ends = [e.value + side * e.se for e in (gain.overall, *gain.domains.values()) for side in (-1, 1)]
    margin = 0.06 * (max(*ends, 0) - min(*ends, 0))
    expected = (min(*ends, 0) - margin, max(*ends, 0) + margin)
    assert plots._gain_range([row], BITS, ("overall", *DOMAINS)) == pytest.approx(expected)


def test_choices_stack_to_a_hundred_percent():
    made = report()
    shown = plots.choice_plots(made)
    assert [plot.name for plot in shown] == [
        "choices-0-target-source-a", "choices-1-target-source-b", "choices-2-target-all",
    ]  # fmt: skip
    shares = [round(100 * share) for share in next(iter(made.choices[0].won.values())) if share >= 0.12]
    assert all(f">{share}<" in shown[0].svg for share in shares)


def test_weights_of_few_layers_are_written_out():
    """A cell without a tensor stays empty."""
    merge = report().weights[0]
    small = replace(
        merge,
        layers=("", "0"),
        modules=("mlp",),
        weights=(((None, 0.25),), ((0.5, 0.75),)),
        targets=("a", "b"),
    )
    one, two = plots.weight_plots(small)
    assert one.alt == f"{merge.label}: weight of a, 1 module by 2 layers" and not one.wide
    assert ">0.25<" in one.svg and ">0.50<" in two.svg and ">0.75<" in two.svg
    assert one.svg.count(">-<") == 1  # the column of what is outside the layers
    many = replace(small, layers=tuple(map(str, range(12))), weights=(((0.25,) * 12,),), targets=("a",))
    (wide,) = plots.weight_plots(many)
    assert wide.wide and ">0.25<" not in wide.svg


def test_rows_have_their_kind_s_colour_and_the_fused_model_its_own():
    made = report()
    assert plots._row_colour(made.row("varm"), made) == svg.role("fused")
    assert plots._row_colour(made.row("linear"), made) == svg.role("series-4")
    assert plots._row_colour(made.row("sft"), made) == svg.role("ink")
