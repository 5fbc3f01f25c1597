"""Sampled rows: their entropy and the tokens that hold 99 % of their mass, from the whole softmax."""

import math

import numpy as np
import pytest
import torch

from fusionchat.represent import notes
from fusionchat.represent.notes import Notes, sample, spread, whole
from tests.represent.test_forward import ROWS, made_head


def test_a_hand_written_row():
    """1/2, 1/4, 1/8, 1/8: 1.75 bits, and all four are needed; one certain token: 0 bits; 200 alike: 198 of them."""
    halves = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    assert spread(halves) == [(pytest.approx(1.75), 4)]
    assert spread(torch.tensor([[0.0, -math.inf, -math.inf]])) == [(0.0, 1)]
    assert spread(torch.full((1, 200), 7.0))[0][0] == pytest.approx(math.log2(200))
    assert spread(torch.full((1, 200), 7.0))[0][1] in (198, 199)


def test_the_sample_is_the_same_every_time_and_everything_where_there_is_little():
    assert sample(5).tolist() == [0, 1, 2, 3, 4] and sample(0).tolist() == []
    drawn = sample(50_000)
    assert len(drawn) == 1000 and np.array_equal(drawn, np.unique(drawn)) and drawn[-1] < 50_000
    assert np.array_equal(drawn, sample(50_000)) and drawn.mean() == pytest.approx(25_000, rel=0.1)


def test_only_sampled_rows_are_measured_and_by_the_models_own_logits(monkeypatch):
    monkeypatch.setattr(notes, "AT_ONCE", 2)
    head = made_head()
    hidden = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = spread(head.logits(hidden))
        assert whole(head, hidden).shape == (6, ROWS)
        held = Notes()
        held.begin(np.array([3, 7, 8, 11]))
        held.measure(head, hidden, np.array([11, 4, 3, 12, 8, 9]))
    assert held.entropy == {row: pytest.approx(own[i][0], rel=1e-5) for row, i in ((11, 0), (3, 2), (8, 4))}
    assert held.needed == {11: own[0][1], 3: own[2][1], 8: own[4][1]}
    held.begin(np.array([1]))
    assert held.entropy == {} and held.rows.tolist() == [1]
