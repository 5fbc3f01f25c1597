"""The rows that GOLD is trained with; its own packages are not needed to look at them."""

from types import SimpleNamespace

import pytest
import torch
from benchmarks.real_chat_gold import LABELS, LOSSES, LOW, ROWS, Row, read, widen


def test_every_row_names_a_loss_and_a_rate_of_the_search():
    rows = [read(row) for row in ROWS]
    assert {row.loss for row in rows} == set(LOSSES) - {"low"}  # of the adapted source
    assert {row.rate for row in rows if row.loss == rows[0].loss} == {3e-5, 1e-4, 3e-4}


def test_a_row_may_name_its_seed():
    assert read("labels 1e-4") == Row("labels", 1e-4, 0)
    assert read("docs 3e-5 2") == Row("docs", 3e-5, 2)


def test_labels_and_distributions_weigh_the_same():
    assert sum(LABELS.values()) == pytest.approx(1) == sum(LOW.values())
    assert len(set(LABELS.values())) == 1


def test_widen_keeps_the_values():
    logits = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    output = widen(None, None, SimpleNamespace(logits=logits))
    assert output.logits.dtype is torch.float32
    assert output.logits.tolist() == [1.5, -2.0]
