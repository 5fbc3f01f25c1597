"""Temperatures and entropies of distributions written by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.fuse.temper import entropy, entropy_of_rows, log_sum, mean_entropy, temper
from fusionchat.represent.topk import TopK


def topk(masses, present=None):
    """Distributions of these masses; what is missing to 1 is the tail."""
    mass = np.array(masses, dtype=np.float64)
    with np.errstate(divide="ignore"):
        logprobs, tail = np.log(mass), np.log(np.round(1 - mass.sum(axis=1), 12))
    here = np.ones(len(mass), bool) if present is None else np.array(present)
    ids = np.tile(np.arange(mass.shape[1], dtype=np.int32), (len(mass), 1))
    return TopK(ids, logprobs.astype(np.float16), tail.astype(np.float16), here)


def masses(made):
    return np.exp(made.logprobs.astype(np.float64))


def test_at_temperature_two_masses_go_by_their_roots():
    """0.64 and 0.16 are as 0.8 and 0.4 at T = 2: two thirds and a third of the 0.8 that is kept; the tail stays 0.2."""
    made = temper(topk([[0.64, 0.16], [1.0, 0.0]]), 2.0)
    np.testing.assert_allclose(masses(made), [[0.8 * 2 / 3, 0.8 / 3], [1, 0]], rtol=2e-3)
    assert made.tail[0] == np.float16(np.log(0.2)) and made.tail[1] == -np.inf


def test_at_temperature_a_half_masses_go_by_their_squares():
    made = temper(topk([[0.6, 0.3]]), 0.5)
    np.testing.assert_allclose(masses(made), [[0.9 * 0.8, 0.9 * 0.2]], rtol=2e-3)


def test_at_one_nothing_changes_and_a_row_without_tokens_stays_empty():
    whole = topk([[0.5, 0.25], [0.0, 0.0]])
    assert temper(whole, 1.0) is whole
    made = temper(whole, 3.0)
    assert (made.logprobs[1] == -np.inf).all() and not np.isnan(made.logprobs).any()
    assert log_sum(np.log([[0.5, 0.25]])) == pytest.approx(np.log(0.75))


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.floats(0.2, 5))
def test_the_kept_mass_and_the_order_stay(shares, temperature):
    kept = sorted((share / sum(shares) * 0.9 for share in shares), reverse=True)
    made = masses(temper(topk([kept]), temperature))[0]
    assert made.sum() == pytest.approx(0.9, rel=4e-3)
    assert (np.diff(made) <= 1e-3).all()


def test_entropies_in_bits():
    """1/2, 1/4 and a tail of 1/4: 1/2 + 1/2 + 1/2 bits."""
    found = entropy(topk([[0.5, 0.25], [0.5, 0.5], [1.0, 0.0], [0.25, 0.25]], [True, True, True, False]))
    np.testing.assert_allclose(found, [1.5, 1, 0, np.nan], atol=2e-3)


def test_the_mean_is_over_the_rows_that_all_have():
    one = topk([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.5, 0.25]])  # 1, 0, 1, 1.5 bits
    other = topk([[1.0, 0.0], [0.5, 0.25], [0.5, 0.5], [1.0, 0.0]], [True, True, False, False])
    found = mean_entropy([one, other], np.array([0, 0, 0, 1]), 3)
    np.testing.assert_allclose(found, [[0.5, np.nan, np.nan], [0.75, np.nan, np.nan]], atol=2e-3)
    rows = entropy_of_rows([one, other])
    np.testing.assert_allclose(rows, [[1, 0, 1, 1.5], [0, 1.5, np.nan, np.nan]], atol=2e-3)
