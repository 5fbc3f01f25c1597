"""Exact top-k by block maxima."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.represent.select import BLOCK, largest, select


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6), v=st.integers(BLOCK * 8, BLOCK * 40), k=st.integers(1, 6), flat=st.booleans()
)
def test_block_maxima_find_the_same_values_as_topk(seed, v, k, flat):
    g = torch.Generator().manual_seed(seed)
    values = torch.randn(5, v, generator=g)
    values = values.round() if flat else values  # many ties
    got, ids = largest(values, k)
    torch.testing.assert_close(got, values.topk(k).values)
    torch.testing.assert_close(values.gather(1, ids), got)
    assert all(len(set(row.tolist())) == k for row in ids)


def test_the_last_tokens_are_not_forgotten():
    values = torch.zeros(1, BLOCK * 9 + 5)
    values[0, -1] = 3.0
    assert largest(values, 1)[1].item() == BLOCK * 9 + 4


def test_a_hand_written_row():
    kept = select(torch.tensor([[math.log(4.0), math.log(3.0), math.log(2.0), 0.0]]), torch.tensor([3]), 2)
    assert kept.ids.tolist() == [[0, 1]]
    assert kept.logprobs.exp().tolist()[0] == pytest.approx([0.4, 0.3])
    assert kept.tail.exp().item() == pytest.approx(0.3)
    assert kept.label_logprob.exp().item() == pytest.approx(0.1)


def test_mass_adds_up():
    logits = torch.randn(50, 1000, generator=torch.Generator().manual_seed(0)) * 4
    kept = select(logits, torch.zeros(50, dtype=torch.long), 10)
    torch.testing.assert_close(kept.logprobs.exp().sum(1) + kept.tail.exp(), torch.ones(50))


def test_keeping_everything_leaves_no_tail():
    kept = select(torch.zeros(1, 4), torch.tensor([0]), 4)
    assert kept.tail.item() == -math.inf or kept.tail.exp().item() < 1e-6
