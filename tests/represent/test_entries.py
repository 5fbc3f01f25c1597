"""Entries as other programs give them: the label beside the k, twice, past the vocabulary, too few, NaN."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.represent.entries import LEAST, Entries, keep


def entries(*rows):
    """Entries from rows of (id, probability)."""
    return Entries(
        np.array([i for row in rows for i, _ in row], np.int64),
        np.array([math.log(p) if p > 0 else -np.inf for row in rows for _, p in row], np.float64),
        np.array([len(row) for row in rows], np.int64),
    )


def kept(labels, *rows, k=2, vocabulary=10):
    return keep(entries(*rows), np.array(labels, np.int64), k, vocabulary=vocabulary)


def test_the_label_beside_the_k_is_not_kept_and_its_mass_is_tail():
    ids, logprobs, tail, label = kept([7], [(7, 0.05), (3, 0.5), (2, 0.3)])
    assert ids.tolist() == [[3, 2]]
    np.testing.assert_allclose(np.exp(logprobs), [[0.5, 0.3]], rtol=1e-6)
    np.testing.assert_allclose(np.exp([tail[0], label[0]]), [0.2, 0.05], rtol=1e-6)


def test_a_label_that_comes_twice_counts_once():
    ids, logprobs, tail, _ = kept([3], [(3, 0.5), (3, 0.5), (2, 0.25)])
    assert ids.tolist() == [[3, 2]]
    np.testing.assert_allclose(np.exp(tail), 0.25, rtol=1e-6)
    np.testing.assert_allclose(np.exp(logprobs), [[0.5, 0.25]], rtol=1e-6)


def test_ids_past_the_tokenizer_are_tail():
    ids, _, tail, _ = kept([3], [(12, 0.5), (3, 0.25), (2, 0.125)])
    assert ids.tolist() == [[3, 2]] and math.isclose(np.exp(tail[0]), 0.625, rel_tol=1e-6)


def test_fewer_than_k_leave_empty_slots():
    ids, logprobs, tail, _ = kept([3, 4], [(3, 0.5)], [(4, 0.5), (5, 0.25), (6, 0.125)], k=3)
    assert logprobs[0, 1:].tolist() == [-np.inf, -np.inf] and ids[1].tolist() == [4, 5, 6]
    np.testing.assert_allclose(np.exp(tail), [0.5, 0.125], rtol=1e-6)
    assert kept([3], [(3, 1.0), (2, 0.0)]).logprobs.tolist() == [[0.0, -np.inf]]


def test_the_tail_is_never_less_than_what_is_known_of_it():
    """1 minus the masses has an absolute error of fp32's; the label's own mass does not."""
    certain = kept([3], [(3, 1.0)])
    assert certain.tail[0] == np.float32(math.log(LEAST))
    unlikely = kept([4], [(4, 1e-6), (3, 1.0)], k=1)
    np.testing.assert_allclose(np.exp(unlikely.tail), 1e-6, rtol=1e-5)
    whole = kept([0], [(0, 0.75), (1, 0.25)], vocabulary=2)
    assert whole.tail[0] == -np.inf


def test_masses_over_one_are_no_probabilities():
    with pytest.raises(ValueError, match=r"add up to 1\.1"):
        kept([3], [(3, 0.8), (2, 0.3)])


def test_a_label_without_an_entry_and_nan_anywhere_are_nan():
    assert np.isnan(kept([9], [(3, 0.5)]).label_logprob).all()
    held = entries([(3, 0.5), (2, 0.25)], [(4, 0.5)])
    held.logprobs[1] = np.nan
    label = keep(held, np.array([3, 4]), 2, vocabulary=10).label_logprob
    assert np.isnan(label).tolist() == [True, False]


@given(st.lists(st.floats(-8, 8, width=32), min_size=3, max_size=12), st.integers(1, 5), st.integers(0, 2))
def test_it_is_the_top_k_of_the_whole_row(logits, k, label):
    logprobs = np.array(logits) - np.logaddexp.reduce(logits)
    order = np.argsort(-logprobs, kind="stable")
    given_ids = [label, *order[:k].tolist()]
    held = Entries(np.array(given_ids), logprobs[given_ids], np.array([len(given_ids)]))
    found = keep(held, np.array([label]), k, vocabulary=len(logits))
    own = order[:k]
    np.testing.assert_allclose(found.logprobs[0, : len(own)], logprobs[own], rtol=1e-6, atol=1e-6)
    rest = 1 - np.exp(logprobs[own]).sum()
    np.testing.assert_allclose(np.exp(found.tail[0]), max(rest, 0), atol=2e-7)
    np.testing.assert_allclose(found.label_logprob[0], logprobs[label], rtol=1e-6, atol=1e-6)
