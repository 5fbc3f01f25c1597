"""From logits to losses and gradient, by hand and against autograd."""

import math

import pytest
import torch

from fusionchat.distill.gradient import exponentials_, goal, logit_gradient, softmax_

NONE = -math.inf


def on_a_gpu(logits):
    most = logits.amax(1, keepdim=True)
    return exponentials_(logits, most), most


@pytest.mark.parametrize("softmax", [softmax_, on_a_gpu])
def test_softmax_in_place_its_logarithm_and_the_largest_logit(softmax):
    logits = torch.tensor([[0.0, math.log(3.0)], [1000.0, 1000.0], [-1000.0, -2000.0]])
    log_z, most = softmax(logits)
    torch.testing.assert_close(logits, torch.tensor([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]))
    torch.testing.assert_close(log_z[:, 0], torch.tensor([math.log(4.0), 1000 + math.log(2.0), -1000.0]))
    torch.testing.assert_close(most[:, 0], torch.tensor([math.log(3.0), 1000.0, -1000.0]))


def test_a_goals_masses_add_up_to_one_with_and_without_the_tail():
    logprobs = torch.log(torch.tensor([[0.4, 0.2], [0.5, 0.0]]))
    args = torch.tensor([3, 1]), torch.tensor([0.5, 0.5]), torch.tensor([[5, 2], [4, 0]]), logprobs
    with_tail = goal(*args, torch.log(torch.tensor([0.2, 0.5])))
    torch.testing.assert_close(with_tail.q, torch.tensor([[0.5, 0.25], [0.5, 0.0]]))
    torch.testing.assert_close(with_tail.rest.exp(), torch.tensor([0.25, 0.5]))
    assert with_tail.ids.tolist() == [[5, 2], [4, 4]]  # an empty slot repeats the first filled one
    without = goal(*args, None)
    torch.testing.assert_close(without.q, torch.tensor([[2 / 3, 1 / 3], [1.0, 0.0]]))
    assert without.rest.tolist() == [NONE, NONE]


def test_a_part_of_a_goal_is_of_its_rows():
    one = goal(
        torch.tensor([3, 1]),
        torch.ones(2),
        torch.tensor([[5], [4]]),
        torch.zeros(2, 1),
        torch.tensor([NONE] * 2),
    ).part(slice(1, 2))
    assert one.labels.tolist() == [[1]] and one.ids.tolist() == [[4]] and len(one.rest) == 1


@pytest.mark.parametrize("bucket", [True, False])
def test_the_closed_form_is_the_derivative(bucket):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, generator=g, dtype=torch.float64, requires_grad=True)
    q = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.0, 0.4], [0.3, 0.7, 0.0], [0.2, 0.2, 0.6]]).double()
    ids = torch.tensor([[0, 3, 5], [1, 0, 2], [4, 1, 0], [2, 3, 4]])
    weight = torch.tensor([0.2, 0.9, 1.0, 0.0]).double()
    labels = torch.tensor([0, 5, 2, 3])
    kept = q[:, :2].log()
    tail = q[:, 2].log() if bucket else None
    towards = goal(labels, weight, ids[:, :2], kept, tail)

    log_p = logits.log_softmax(1)
    filled = torch.isfinite(kept)
    target = q[:, :2] if bucket else q[:, :2] / q[:, :2].sum(1, keepdim=True)
    at = log_p.gather(1, ids[:, :2])
    divergence = torch.where(filled, target * (target.clamp_min(1e-300).log() - at), 0.0).sum(1)
    if bucket:
        outside = torch.stack(
            [log_p[i].exp().sum() - log_p[i, ids[i, :2][filled[i]]].exp().sum() for i in range(4)]
        )
        rest = q[:, 2]
        divergence = divergence + torch.where(
            rest > 0, rest * (rest.clamp_min(1e-300).log() - outside.log()), 0.0
        )
    label = -log_p.gather(1, labels[:, None])[:, 0]
    (weight * label + (1 - weight) * divergence).sum().backward()

    mine = logits.detach().clone()
    losses = logit_gradient(mine, towards, soft=True, bucket=bucket)
    torch.testing.assert_close(losses.label, label.detach())
    torch.testing.assert_close(losses.divergence, torch.where(weight < 1, divergence, 0.0).detach())
    torch.testing.assert_close(mine, logits.grad)
    best = logits.detach().argmax(1)
    top = ids.gather(1, q[:, :2].argmax(1, keepdim=True))[:, 0]
    assert losses.right.tolist() == (best == labels).tolist()
    assert losses.agrees.tolist() == ((best == top) & (weight < 1)).tolist()


def test_whose_largest_token_is_whose():
    """Label 1 and the teacher's 2: the student's is 1, then 2, then both (equal logits count), then neither."""
    logits = torch.tensor([[0.0, 2, 1, 0], [0, 1, 2, 0], [0, 2, 2, 0], [5, 1, 1, 0]])
    ids, kept = torch.tensor([[3, 2]]).repeat(4, 1), torch.log(torch.tensor([[0.2, 0.7]])).repeat(4, 1)
    tail = torch.full((4,), math.log(0.1))
    towards = goal(torch.ones(4, dtype=torch.long), torch.full((4,), 0.5), ids, kept, tail)
    losses = logit_gradient(logits, towards, soft=True, bucket=True)
    assert losses.right.tolist() == [True, False, True, False]
    assert losses.agrees.tolist() == [False, True, True, False]


def test_without_distributions_it_is_the_labels_gradient():
    logits = torch.tensor([[0.0, math.log(3.0)]])
    towards = goal(
        torch.tensor([0]), torch.ones(1), torch.zeros(1, 1, dtype=torch.long), torch.tensor([[NONE]]), None
    )
    losses = logit_gradient(logits, towards, soft=False, bucket=True)
    assert losses.label.tolist() == pytest.approx([math.log(4)]) and losses.divergence.tolist() == [0]
    assert logits.tolist() == [pytest.approx([-0.75, 0.75])]
