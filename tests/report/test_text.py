import pytest

from fusionchat.evaluate.statistics import Estimate
from fusionchat.report import text
from tests.report.sample import BITS, MATCH


@pytest.mark.parametrize(
    ("value", "metric", "places", "signed", "shown"),
    [
        (Estimate(0.5641, 0.0032, 9), BITS, 3, False, "0.564 ±0.003"),
        (Estimate(-0.0081, 0.0011, 9), BITS, 4, True, "-0.0081 ±0.0011"),
        (Estimate(0.0, 0.0011, 9), BITS, 4, True, "+0.0000 ±0.0011"),
        (Estimate(0.613, 0.021, 9), MATCH, 1, False, "61.3 ±2.1"),
        (Estimate(1.25, None, 1), BITS, 3, False, "1.250 ±    ?"),
        (None, MATCH, 1, False, "-"),
    ],
)
def test_an_estimate_carries_its_error(value, metric, places, signed, shown):
    assert text.estimate(value, metric, places, signed=signed) == shown


def test_an_unknown_error_is_as_wide_as_a_known_one():
    known = text.estimate(Estimate(1.0, 0.5, 2), BITS, 3)
    assert len(text.estimate(Estimate(1.0, None, 1), BITS, 3)) == len(known)


def test_decimals_follow_the_typical_error():
    fine, coarse = Estimate(0.01, 0.0008, 9), Estimate(0.5, 0.02, 9)
    assert text.decimals([fine, None, fine], BITS) == 4
    assert text.decimals([coarse, coarse, fine], BITS) == 3
    assert text.decimals([], BITS) == 3
    assert text.decimals([coarse], MATCH) == 1 and text.decimals([fine], MATCH) == 2  # 2.0 and 0.08 points


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "-"),
        (999, "999"),
        (9_430, "9.43 K"),
        (94_300, "94.3 K"),
        (943_000, "943 K"),
        (7_240_000_000, "7.24 B"),
    ],
)
def test_counts_have_three_digits(number, shown):
    assert text.count(number) == shown


def test_percent():
    assert text.percent(0.9811) == "98.1 %" and text.percent(0.5, 0) == "50 %" and text.percent(None) == "-"
