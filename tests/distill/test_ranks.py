"""Two processes train what one process trains: under DDP through `train`, and one step of DDP and FSDP2."""

import pytest
import torch

from fusionchat.distill.student import Student
from tests.distill import ranks


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return ranks.start(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_two_processes_train_what_one_does_with_accumulation(found, tmp_path, dtype, tolerance):
    """20 steps of unequal ranks; in the last, one rank has no supervised row at all."""
    weights, losses = ranks.trained(dtype, tmp_path)
    start = [p.detach() for p in ranks.make(False, dtype).parameters()]
    moved = max(float((a - b).abs().max()) for a, b in zip(weights, start, strict=True))
    assert moved > 5e-3
    for rank in found:
        theirs, their_losses = rank["train", dtype]
        for mine, other in zip(weights, theirs, strict=True):
            torch.testing.assert_close(other, mine, rtol=0, atol=tolerance)
        assert their_losses == pytest.approx(losses, abs=1e-6)  # Trainer adds them up in fp32


@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_rank_without_rows_leaves_the_others_gradient_right(found, wrapper, tied):
    """Its own loss is 0, and both ranks end with the gradient of the one conversation, divided by its own rows."""
    full, empty = ranks.batches()
    assert (len(full["labels"]), len(empty["labels"])) == (int(full["step_rows"]), 0)
    student = Student.of(ranks.make(tied, torch.float64), label_weight=0.5)
    loss, expected = ranks.gradients(student, full, 1)
    assert min(float(g.abs().max()) for g in expected) > 0
    first, second = found[0][wrapper, tied], found[1][wrapper, tied]
    assert first[0] == pytest.approx(ranks.RANKS * loss, abs=1e-9) and second[0] == 0
    for gradients in (first[1], second[1]):
        for mine, other in zip(expected, gradients, strict=True):
            torch.testing.assert_close(other, mine, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tied", [True, False])
def test_a_rank_holds_its_part_alone(found, tied):
    whole = sum(p.numel() for p in ranks.make(tied, torch.float64).parameters())
    assert [rank["fsdp", tied][2] for rank in found] == pytest.approx([whole / 2] * 2, rel=0.02)
    assert sum(rank["fsdp", tied][2] for rank in found) == whole
