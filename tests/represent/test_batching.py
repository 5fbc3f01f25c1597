"""Batches: everyone once, within the budget, mostly real positions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.represent.batching import length_batches


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_everyone_once_and_keep_to_the_budget(lengths, batch_tokens):
    batches = length_batches(lengths, batch_tokens)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= batch_tokens
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_length_sorting_keeps_most_positions_real():
    lengths = np.random.default_rng(0).integers(10, 400, 500).tolist()
    batches = length_batches(lengths, 4096)
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert sum(lengths) / padded > 0.95
