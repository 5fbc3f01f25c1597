import math

import numpy as np
import pytest

from fusionchat.evaluate.noise import Gain
from fusionchat.evaluate.power import AIM, chi_grid, detectable, errors_needed, normal_below, power
from fusionchat.evaluate.t_distribution import critical


def test_an_error_that_is_known_exactly_needs_the_textbook_s_errors():
    assert errors_needed(1e6) == pytest.approx(
        1.95996 + 0.95417, abs=2e-3
    )  # the normal quantiles of 97.5 % and 83 %


@pytest.mark.parametrize("df", [1, 2, 7])
def test_the_errors_needed_are_seen_as_often_as_is_aimed_for(df):
    """By simulation: two experiments, each with an error of its own."""
    rng = np.random.default_rng(df)
    first, second = (np.sqrt(rng.chisquare(df, 200_000) / df) for _ in range(2))
    seen = rng.normal(0, 1, 200_000) + errors_needed(df) * first > critical(df) * second
    assert seen.mean() == pytest.approx(AIM, abs=0.004)


def test_the_grid_has_the_moments_of_a_standard_error():
    for df in (1, 2, 50):
        s, weights = chi_grid(df)
        mean = math.sqrt(2 / df) * math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2))
        assert weights @ s == pytest.approx(mean, rel=1e-4) and weights @ s**2 == pytest.approx(1, rel=1e-4)


def test_power_without_an_effect_is_one_side_of_the_level():
    assert power(0.0, critical(2), *chi_grid(2)) == pytest.approx(0.025, abs=1e-4)
    assert normal_below(np.array([[0.0, 1.959964]] * 2))[1].tolist() == pytest.approx([0.5, 0.975], abs=1e-6)


def test_sampling_and_training_need_their_errors_by_variance():
    sampled = Gain(0.1, 0.02, 250, 0.02, 0.0, critical(249))
    assert detectable(sampled) == pytest.approx(0.02 * errors_needed(249))
    trained = Gain(0.1, 0.02, 250, 0.01, 0.02, critical(2), 2)
    assert detectable(trained) == pytest.approx(0.02 * errors_needed(2))
    half = Gain(0.1, 0.02, 250, 0.01, 0.02 / 2**0.5, 3.0, 2)
    assert detectable(half) == pytest.approx((detectable(sampled) + detectable(trained)) / 2)


def test_a_gain_of_right_answers_moves_items_and_so_adds_to_its_own_variance():
    found = Gain(0.0, 0.02, 250, 0.02, 0.0, critical(249))
    size, errors = detectable(found, own=1.0), errors_needed(249)
    assert size**2 == pytest.approx(errors**2 * (0.02**2 + size / 250))


def test_nothing_can_be_seen_where_nothing_is_called_clear():
    assert detectable(Gain(0.1, 0.02, 250, 0.02)) is None
    assert detectable(Gain(0.1, 0.02, 9, 0.02, 0.0, 2.3)) is None
    assert detectable(Gain(0.1, None, 250)) is None
