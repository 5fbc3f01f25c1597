"""Passes over held-out text; tests/distill/test_observer.py and test_ranks.py have what they measure."""

import torch

from fusionchat.distill.held_out import HeldOut, measuring, passes
from fusionchat.distill.student import Student
from tests.distill.test_trainer import corpus, student


def test_every_conversation_is_scored_once():
    held = corpus(70)
    found = list(passes(HeldOut(held, 1), 64, 24.0))
    assert sum(len(batch["labels"]) for batch in found) == sum(len(one.rows) for one in held)
    assert all(batch["input_ids"].numel() <= 64 for batch in found) and not any(
        batch["present"].any() for batch in found
    )


def test_a_student_is_afterwards_as_it_was():
    one = Student.of(student(), label_weight=0.3, focus=2.0).train()
    with measuring(one):
        assert (one.label_weight, one.focus, one.training, torch.is_grad_enabled()) == (
            1.0,
            0.0,
            False,
            False,
        )
    assert (one.label_weight, one.focus, one.training, torch.is_grad_enabled()) == (0.3, 2.0, True, True)
