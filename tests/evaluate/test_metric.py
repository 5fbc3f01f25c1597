import numpy as np
import pytest

from fusionchat.evaluate.metric import RATIO, SHARE, Metric
from fusionchat.evaluate.noise import Side
from fusionchat.evaluate.statistics import Estimate, proportion_gain, ratio

COST = Metric("cost", "cost", "cents", "lower", RATIO)
RIGHT = Metric("right", "right", "%", "higher", SHARE, scale=100.0, places=1)
LENGTH = Metric("length", "length", "tokens", "higher", RATIO)


def test_a_ratio_weighs_items_by_their_sizes_in_every_domain():
    found = COST.breakdown(np.array([10.0, 40.0, 9.0]), np.array([10, 10, 30]), ["a", "b", ""])
    assert found.overall.value == pytest.approx(59 / 50) and found.overall.n == 3
    assert {name: one.value for name, one in found.domains.items()} == {"a": 1.0, "b": 4.0}


def test_a_share_is_estimated_over_items_and_domains_keep_their_order():
    found = RIGHT.breakdown(np.array([1.0, 0, 1, 1]), np.ones(4), ["math", "", "code", "math"])
    assert list(found.domains) == ["math", "code"]
    assert found.overall.value == 0.75 and found.overall.n == 4
    assert found.domains["math"] == Estimate(1.0, pytest.approx(1 / 6), 2)


def test_a_domain_without_size_has_no_estimate():
    found = COST.breakdown(np.array([2.0, 3.0, 4.0]), np.array([2, 0, 2]), ["a", "b", "a"])
    assert set(found.domains) == {"a"} and found.overall.value == pytest.approx(9 / 4)


def test_sizes_of_one_make_a_ratio_a_mean():
    values = np.array([3.0, 4.0, 8.0])
    found = LENGTH.breakdown(values, np.ones(3, np.int64), ["", "", ""]).overall
    assert found == (5.0, pytest.approx(values.std(ddof=1) / 3**0.5), 3)


def test_a_gain_is_positive_where_the_model_is_better():
    ours, theirs, sizes = np.array([1.0, 2, 0.5]), np.array([2.0, 2, 2.0]), np.array([1, 2, 1])
    saved = COST.gains(Side(ours), Side(theirs), sizes, ["", "", ""]).overall
    assert saved.value == pytest.approx(2.5 / 4) and saved.se == ratio(theirs - ours, sizes).se
    longer = LENGTH.gains(Side(ours), Side(theirs), sizes, ["", "", ""]).overall
    assert longer.value == pytest.approx(-2.5 / 4) and longer.se == pytest.approx(saved.se)


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_gains_in_a_share_are_paired_whichever_way_is_better(better):
    metric = Metric("x", "x", "%", better, SHARE)
    ours, theirs = np.array([1.0, 1, 0, 1, 0]), np.array([1.0, 0, 0, 0.5, 0.5])
    found = metric.gains(Side(ours), Side(theirs), np.ones(5), [""] * 5).overall
    expected = proportion_gain(ours, theirs)
    assert found.value == pytest.approx(expected.value if better == "higher" else -expected.value)
    assert found.se == pytest.approx(expected.se)


def test_losses_are_less_where_a_model_is_better():
    assert COST.loss(3.0) == 3.0 and RIGHT.loss(0.25) == -0.25
    assert all(metric.loss(metric.loss(0.5)) == 0.5 for metric in (COST, RIGHT))


def test_words_follow_from_unit_and_direction():
    assert (COST.column, COST.gained, COST.direction) == ("cost (cents)", "cents saved", "lower is better")
    assert (RIGHT.column, RIGHT.gained, RIGHT.caption) == ("right (%)", "percentage points", "Percent")
    assert (LENGTH.gained, LENGTH.caption, LENGTH.direction) == ("tokens", "Tokens", "higher is better")
    same = Metric("bpb", "bits per byte", "bits per byte", "lower", RATIO, about="Bits of UTF-8")
    assert (same.column, same.caption) == ("bits per byte", "Bits of UTF-8")
