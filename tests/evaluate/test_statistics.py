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


def test_gain_error_agrees_with_the_paired_bootstrap_and_is_far_below_the_unpaired_one():
    model_C, base_C, bytes_C = sample(2)
    gain = stats.bits_per_byte_gain(model_C, base_C, bytes_C, [""] * len(bytes_C)).overall
    expected = bootstrap(lambda i: (base_C[i] - model_C[i]).sum() / bytes_C[i].sum(), len(bytes_C))
    unpaired = np.hypot(stats.ratio(model_C, bytes_C).se, stats.ratio(base_C, bytes_C).se)
    assert gain.se == pytest.approx(expected, rel=0.08)
    assert gain.se < unpaired / 3


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


@given(SEEDS)
def test_gains_are_differences_of_values_and_change_sign_with_the_sides(seed):
    a_C, b_C, bytes_C = sample(seed, 15)
    domains = ["x", "y", "z"] * 5
    gain = stats.bits_per_byte_gain(a_C, b_C, bytes_C, domains)
    back = stats.bits_per_byte_gain(b_C, a_C, bytes_C, domains)
    a, b = (stats.bits_per_byte(bits, bytes_C, domains) for bits in (a_C, b_C))
    for name in gain.domains:
        assert gain.domains[name].value == pytest.approx(b.domains[name].value - a.domains[name].value)
        assert gain.domains[name].value == pytest.approx(-back.domains[name].value)
        assert gain.domains[name].se == pytest.approx(back.domains[name].se)


@given(SEEDS)
def test_a_model_against_itself_gains_nothing_for_certain(seed):
    bits_C, _, bytes_C = sample(seed, 9)
    gain = stats.bits_per_byte_gain(bits_C, bits_C, bytes_C, ["d"] * 9).overall
    assert gain == Estimate(0.0, 0.0, 9)
    assert gain.errors is None and not gain.is_clear


def test_one_conversation_has_no_known_error():
    estimate = stats.ratio(np.array([3.0]), np.array([2]))
    assert estimate == Estimate(1.5, None, 1)
    assert estimate.errors is None and not estimate.is_clear


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
    gain = stats.exact_match_gain(model_C, base_C, ["d"] * 300).domains["d"]
    expected = bootstrap(lambda i: model_C[i].mean() - base_C[i].mean(), 300)
    assert gain.value == pytest.approx(model_C.mean() - base_C.mean())
    assert gain.se == pytest.approx(expected, rel=0.08)


def test_exact_match_gain_of_equal_answers_is_zero_but_not_certain():
    correct_C = np.arange(20) < 7
    gain = stats.proportion_gain(correct_C, correct_C)
    assert gain.value == 0
    assert gain.se == pytest.approx(1 / 22)


def test_domains_keep_their_order_and_the_unlabelled_count_only_overall():
    breakdown = stats.exact_match(np.array([True, False, True, True]), ["math", "", "code", "math"])
    assert list(breakdown.domains) == ["math", "code"]
    assert breakdown.overall.value == 0.75 and breakdown.overall.n == 4
    assert breakdown.domains["math"] == Estimate(1.0, pytest.approx(1 / 6), 2)


def test_bits_per_byte_weighs_conversations_by_their_bytes():
    breakdown = stats.bits_per_byte(np.array([10.0, 30.0]), np.array([10, 10]), ["a", "b"])
    assert breakdown.overall.value == 2.0
    assert (breakdown.domains["a"].value, breakdown.domains["b"].value) == (1.0, 3.0)


def test_a_clear_estimate_lies_beyond_two_errors_of_enough_conversations():
    assert Estimate(-2.1, 1.0, 10).is_clear and not Estimate(1.9, 1.0, 10).is_clear
    assert not Estimate(9.0, 1.0, 9).is_clear
