import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.evaluate import statistics as stats
from fusionchat.evaluate.statistics import Estimate

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, conversations: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bits of two related models and bytes: rates differ between conversations, lengths vary widely."""
    rng = np.random.default_rng(seed)
    bytes_C = rng.integers(20, 400, conversations)
    rate_C = rng.gamma(20, 0.05, conversations)
    a_C = bytes_C * rate_C + rng.normal(0, 3, conversations)
    b_C = bytes_C * rate_C * 0.97 + rng.normal(0, 3, conversations)
    return a_C, b_C, bytes_C


def bootstrap(estimate, n: int, rounds: int = 4000) -> float:
    rng = np.random.default_rng(7)
    return float(np.std([estimate(rng.integers(0, n, n)) for _ in range(rounds)]))


def test_ratio_has_the_hand_computed_value_and_error():
    # R = 6 / 4 = 1.5; residuals 1 - 1.5, 5 - 4.5; se = sqrt(2 / 1 * 0.5) / 4 = 0.25
    assert stats.ratio(np.array([1.0, 5.0]), np.array([1, 3])) == Estimate(1.5, 0.25, 2)


def test_ratio_error_agrees_with_the_bootstrap():
    bits_C, _, bytes_C = sample(1)
    expected = bootstrap(lambda i: bits_C[i].sum() / bytes_C[i].sum(), len(bytes_C))
    assert stats.ratio(bits_C, bytes_C).se == pytest.approx(expected, rel=0.08)


def test_gain_error_covers_the_truth_at_the_nominal_rate():
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(400):
        bytes_C = rng.integers(20, 400, 80)
        saved_C = bytes_C * rng.normal(0.02, 0.05, 80)
        estimate = stats.ratio(saved_C, bytes_C)
        inside += abs(estimate.value - 0.02) < 1.96 * estimate.se
    assert 0.92 < inside / 400 < 0.98


@given(SEEDS, st.floats(1e-3, 1e3))
def test_ratio_scales_with_its_numerators(seed, factor):
    bits_C, _, bytes_C = sample(seed, 12)
    one, scaled = stats.ratio(bits_C, bytes_C), stats.ratio(bits_C * factor, bytes_C)
    assert scaled.value == pytest.approx(factor * one.value)
    assert scaled.se == pytest.approx(factor * one.se)


def test_one_conversation_has_no_known_error():
    estimate = stats.ratio(np.array([3.0]), np.array([2]))
    assert estimate == Estimate(1.5, None, 1)


def test_nothing_to_divide_by_is_refused():
    with pytest.raises(ValueError, match="positive denominator"):
        stats.ratio(np.zeros(0), np.zeros(0, dtype=np.int64))
    with pytest.raises(ValueError, match="at least one"):
        stats.proportion(np.zeros(0, dtype=bool))
    with pytest.raises(ValueError, match="at least one"):
        stats.proportion_gain(np.zeros(0, dtype=bool), np.zeros(0, dtype=bool))


def test_proportion_is_binomial_in_the_middle_and_uncertain_at_the_ends():
    middle = stats.proportion(np.arange(400) < 200)
    assert middle.value == 0.5
    assert middle.se == pytest.approx(np.sqrt(0.25 / 400), rel=0.01)
    assert stats.proportion(np.zeros(9, dtype=bool)) == Estimate(0.0, pytest.approx(0.05), 9)
    assert stats.proportion(np.ones(9, dtype=bool)).se == pytest.approx(0.05)


@given(st.integers(1, 300), st.floats(0, 1))
def test_proportion_error_is_wilson_s_interval(n, share):
    right = round(share * n)
    p, z = right / n, 1.0
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    # The ends of the interval are where (p - t)^2 = t (1 - t) / n.
    upper = centre + stats.proportion(np.arange(n) < right).se
    assert (p - upper) ** 2 == pytest.approx(upper * (1 - upper) / n, abs=1e-9)


def test_exact_match_gain_agrees_with_the_paired_bootstrap():
    rng = np.random.default_rng(3)
    base_C = rng.random(300) < 0.5
    model_C = np.where(rng.random(300) < 0.2, rng.random(300) < 0.8, base_C)
    gain = stats.proportion_gain(model_C, base_C)
    expected = bootstrap(lambda i: model_C[i].mean() - base_C[i].mean(), 300)
    assert gain.value == pytest.approx(model_C.mean() - base_C.mean())
    assert gain.se == pytest.approx(expected, rel=0.08)


def test_exact_match_gain_of_equal_answers_is_zero_but_not_certain():
    correct_C = np.arange(20) < 7
    gain = stats.proportion_gain(correct_C, correct_C)
    assert gain.value == 0
    assert gain.se == pytest.approx(1 / 22)


def test_shares_of_several_trainings_are_estimated_like_answers():
    """The mean of two trainings: conversations that one of them has right count half."""
    ours_C, theirs_C = np.array([1.0, 0.5, 0.0, 1.0]), np.array([1.0, 0.0, 0.5, 0.5])
    value = stats.proportion(ours_C)
    assert value.value == 0.625
    assert value.se == pytest.approx((np.var(ours_C) / 4 + 1 / 64) ** 0.5 / 1.25)
    gain = stats.proportion_gain(ours_C, theirs_C)
    # differences 0, 1/2, -1/2, 1/2: squares add up to 3/4, they to 1/2
    assert gain.value == 0.125 and gain.se == pytest.approx((0.75 + 1 - 0.25 / 6) ** 0.5 / 6)
