"""Sums of a step; tests/distill/test_ranks.py has them over processes."""

import pytest
import torch

from fusionchat.distill.loss import LossSums
from fusionchat.distill.sums import StepSums, everyones, of_pass, share


def sums(*values):
    *found, soft = (torch.tensor(value) for value in values)
    loss, label, divergence, rows, right, agrees = found
    return LossSums(loss, label, divergence, int(rows), right, agrees, soft)


def test_passes_are_added_up():
    passes = torch.stack(
        [of_pass(sums(1.0, 2.0, 3.0, 4, 2.0, 1.0, 2)), of_pass(sums(10.0, 20.0, 30.0, 40, 20.0, 10.0, 20))]
    )
    found = share(passes, [0.25, 7.0], 12.0)
    assert found.sums == StepSums(loss=11, label=22, divergence=33, right=22, agrees=11, soft=22, rows=44)
    assert (found.more, found.most) == ([0.25, 7.0], 12.0)


def test_means_are_of_the_rows_that_count():
    found = StepSums(loss=11, label=22, divergence=33, right=22, agrees=11, soft=22, rows=44).means()
    assert found == {
        "loss": 0.25, "label_loss": 0.5, "distribution_loss": 1.5, "label_accuracy": 0.5, "agreement": 0.5,
    }  # fmt: skip
    alone = StepSums(loss=1, label=1, divergence=0, right=0, agrees=0, soft=0, rows=4).means()
    assert alone["distribution_loss"] is alone["agreement"] is None and alone["loss"] == pytest.approx(0.25)


def test_one_process_has_its_own_words():
    assert everyones(["a", "b"]) == ["a", "b"]
