"""The sparse soft-target loss against a dense reference, and its edge cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.distill.loss import SoftTargets, row_weights, soft_cross_entropy
from fusionchat.models.logits import HeadShape
from tests.reference.loss import dense_loss


def make(seed, n=7, k=3, v=11, h=5, empty=0.0, absent=0.0):
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, h, generator=g, dtype=torch.float64).float()
    head = torch.randn(v, h, generator=g, dtype=torch.float64).float()
    logits = torch.randn(n, v, generator=g) * 2
    logprobs, ids = logits.log_softmax(-1).topk(k)
    logprobs = torch.where(torch.rand(n, k, generator=g) < empty, -torch.inf, logprobs)
    tail = torch.log1p(-logprobs.exp().sum(1).clamp(max=1 - 1e-6))
    labels = torch.randint(v, (n,), generator=g)
    present = torch.rand(n, generator=g) >= absent
    return hidden, head, SoftTargets(ids, logprobs, tail, labels, present)


def run(function, hidden, head, *args, bias=None, **kwargs):
    hidden, head = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    bias = None if bias is None else bias.clone().requires_grad_()
    loss = function(hidden, head, *args, bias_V=bias, **kwargs)
    loss = getattr(loss, "loss", loss)
    loss.backward()
    return loss.detach(), hidden.grad, head.grad, None if bias is None else bias.grad


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    weight=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    tail=st.sampled_from(["bucket", "renormalize"]),
    empty=st.sampled_from([0.0, 0.4]),
    absent=st.sampled_from([0.0, 0.5]),
    shape=st.sampled_from([HeadShape(), HeadShape(scale=0.25), HeadShape(softcap=3.0), HeadShape(2.0, 5.0)]),
    biased=st.booleans(),
    chunk=st.sampled_from([1, 2, 100]),
    focus=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_value_and_gradients_equal_the_dense_reference(
    seed, weight, tail, empty, absent, shape, biased, chunk, focus
):
    hidden, head, targets = make(seed, empty=empty, absent=absent)
    bias = torch.randn(head.shape[0], generator=torch.Generator().manual_seed(seed)) if biased else None
    options = {"label_weight": weight, "tail": tail, "shape": shape, "focus": focus}
    ours = run(soft_cross_entropy, hidden, head, targets, bias=bias, chunk_rows=chunk, **options)
    dense = run(dense_loss, hidden, head, targets, bias=bias, **options)
    for mine, reference in zip(ours, dense, strict=True):
        if reference is not None:
            torch.testing.assert_close(mine, reference, rtol=2e-4, atol=2e-4)


def test_a_hand_written_row():
    # Two kept tokens, logits 0 for all four: p = 1/4 each; q = (1/2, 1/4), tail 1/4; label 3.
    targets = SoftTargets(
        torch.tensor([[0, 1]]),
        torch.tensor([[math.log(0.5), math.log(0.25)]]),
        torch.tensor([math.log(0.25)]),
        torch.tensor([3]),
        torch.tensor([True]),
    )
    sums = soft_cross_entropy(torch.zeros(1, 2), torch.zeros(4, 2), targets, label_weight=0.9)
    divergence = 0.5 * math.log(2) + 0 + 0.25 * math.log(0.25 / 0.5)
    assert sums.label.item() == pytest.approx(math.log(4), abs=1e-6)
    assert sums.divergence.item() == pytest.approx(divergence, abs=1e-6)
    assert sums.loss.item() == pytest.approx(0.9 * math.log(4) + 0.1 * divergence, abs=1e-6)
    assert sums.rows == 1


@pytest.mark.parametrize("tail", ["bucket", "renormalize"])
def test_rows_of_the_student_s_own_text_learn_their_distributions_alone(tail):
    hidden, head, targets = make(0, n=4)
    own = torch.tensor([True, False, True, False])
    mixed = run(soft_cross_entropy, hidden, head, targets._replace(own=own), label_weight=0.7, tail=tail)
    apart = [
        run(
            soft_cross_entropy,
            hidden[rows],
            head,
            SoftTargets(*(one[rows] for one in targets[:5])),
            label_weight=w,
            tail=tail,
        )
        for rows, w in ((own, 0.0), (~own, 0.7))
    ]
    torch.testing.assert_close(mixed[0], apart[0][0] + apart[1][0])
    torch.testing.assert_close(mixed[1][own], apart[0][1])
    torch.testing.assert_close(mixed[2], apart[0][2] + apart[1][2])


def test_a_row_that_the_student_knows_counts_little():
    """Logits (ln 3, 0): p = 3/4 and 1/4. At focus 2 the labels' CE weighs 1/16 where it is known, 9/16 where not."""
    head = torch.tensor([[math.log(3.0)], [0.0]])
    targets = SoftTargets(
        torch.zeros(2, 1, dtype=torch.long),
        torch.full((2, 1), -torch.inf),
        torch.zeros(2),
        torch.tensor([0, 1]),
        torch.zeros(2, dtype=torch.bool),
    )
    hidden = torch.ones(2, 1, requires_grad=True)
    sums = soft_cross_entropy(hidden, head, targets, label_weight=0.5, focus=2.0)
    assert sums.loss.item() == pytest.approx(math.log(4 / 3) / 16 + 9 / 16 * math.log(4), abs=1e-6)
    assert sums.label.item() == pytest.approx(math.log(4 / 3) + math.log(4), abs=1e-6)
    sums.loss.backward()
    expected = [-math.log(3) / 4 / 16, math.log(3) * 3 / 4 * 9 / 16]  # (p - one-hot) of the first, times ln 3
    assert hidden.grad.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert row_weights(torch.tensor([0.0, math.log(2.0)]), 1.0).tolist() == pytest.approx([0, 0.5])
    assert row_weights(torch.zeros(1), 0.0) is None


def test_no_row_gives_zero_with_a_live_graph():
    hidden, head, targets = make(0, n=0)
    hidden.requires_grad_()
    sums = soft_cross_entropy(hidden, head, targets, label_weight=0.5)
    sums.loss.backward()
    assert sums.loss.item() == 0 and sums.rows == 0 and hidden.grad is not None


def test_a_student_equal_to_the_target_has_no_divergence():
    hidden, head, _ = make(1)
    logprobs, ids = (hidden @ head.T).log_softmax(-1).topk(4)
    tail = torch.log1p(-logprobs.exp().sum(1))
    targets = SoftTargets(ids, logprobs, tail, ids[:, 0], torch.ones(len(ids), dtype=torch.bool))
    loss, grad_hidden, _, _ = run(soft_cross_entropy, hidden, head, targets, label_weight=0.0)
    assert abs(loss.item()) < 1e-4
    assert grad_hidden.abs().max() < 1e-4


def test_a_far_student_stays_finite():
    hidden, head, targets = make(2)
    loss, grad_hidden, grad_head, _ = run(soft_cross_entropy, hidden * 1e3, head, targets, label_weight=0.0)
    assert all(torch.isfinite(t).all() for t in (loss, grad_hidden, grad_head))


def test_half_precision_head_is_close():
    hidden, head, targets = make(3, n=64, v=50, h=16)
    exact = soft_cross_entropy(hidden, head, targets, label_weight=0.5).loss
    half = soft_cross_entropy(hidden.bfloat16(), head.bfloat16(), targets, label_weight=0.5).loss
    assert half.item() == pytest.approx(exact.item(), rel=0.03)


def test_half_precision_logits_that_matter_are_not_rounded():
    """CE(label) against the fp64 product of the same bf16 inputs; logits rounded to bf16 are off by 2e-4 here."""
    hidden, head, targets = make(3, n=64, v=500, h=256)
    hidden, head = (hidden / 2).bfloat16(), head.bfloat16()
    exact = torch.nn.functional.cross_entropy(
        hidden.double() @ head.double().T, targets.labels, reduction="sum"
    )
    ours = soft_cross_entropy(hidden, head, targets, label_weight=1.0, chunk_rows=10).label
    assert ours.item() == pytest.approx(exact.item(), rel=5e-6)


def test_half_precision_gradients_are_close_to_those_of_the_same_inputs():
    """With the logits of kept tokens and label exact, the rounded others cost no more than the gradient's own bf16."""
    hidden, head, _ = make(3, n=64, v=500, h=256)
    hidden, head = (hidden / 2).bfloat16(), head.bfloat16()
    logits = hidden.float() @ head.float().T
    logprobs, ids = (logits * 0.8).log_softmax(1).topk(10)
    targets = SoftTargets(
        ids, logprobs, torch.log1p(-logprobs.exp().sum(1)), ids[:, 1], torch.ones(64, dtype=torch.bool)
    )
    half = run(soft_cross_entropy, hidden, head, targets, label_weight=0.5, chunk_rows=10)
    exact = run(soft_cross_entropy, hidden.double(), head.double(), targets, label_weight=0.5)
    assert half[0].item() == pytest.approx(exact[0].item(), rel=1e-4)
    for mine, true in zip(half[1:3], exact[1:3], strict=True):
        assert (mine.double() - true).norm() < 5e-3 * true.norm()


def test_the_rounded_head_is_what_the_products_are_made_with():
    """The weight gets the gradient, in fp32, of a loss whose products are those of its copy."""
    hidden, head, targets = make(3)
    head = head.requires_grad_()
    other = torch.randn_like(head)
    sums = soft_cross_entropy(hidden, head, targets, label_weight=0.5, rounded_VH=other)
    sums.loss.backward()
    mine = head.grad
    assert torch.equal(sums.loss, soft_cross_entropy(hidden, other, targets, label_weight=0.5).loss)
    other.requires_grad_()
    soft_cross_entropy(hidden, other, targets, label_weight=0.5).loss.backward()
    assert torch.equal(mine, other.grad)


def test_a_small_tail_counts():
    """By hand: q = (1 - t) on token 0 and t outside, p = 1/4 each: D = (1-t) log((1-t)/(1/4)) + t log(t/(3/4))."""
    t = 1e-9
    targets = SoftTargets(torch.tensor([[0]]), torch.tensor([[math.log1p(-t)]]), torch.tensor([math.log(t)]),
                          torch.tensor([0]), torch.tensor([True]))  # fmt: skip
    hidden, head = torch.zeros(1, 2), torch.zeros(4, 2)
    one = soft_cross_entropy(hidden, head, targets, label_weight=0.0)
    assert one.divergence.item() == pytest.approx(math.log(4) + t * math.log(t / 3), rel=1e-6)
    # A sharp student: P = 3 exp(-40) is 4 % of t, far under what 1 - p(0) can show in fp32.
    sharp = torch.tensor([[30.0], [-10.0], [-10.0], [-10.0]])
    two = soft_cross_entropy(torch.ones(1, 1), sharp, targets, label_weight=0.0)
    assert two.divergence.item() == pytest.approx(t * (math.log(t / 3) + 40), abs=2 * t)


@pytest.mark.parametrize("tail", ["bucket", "renormalize"])
def test_a_row_without_a_distribution_is_trained_on_its_label(tail):
    hidden, head, targets = make(4)
    nothing = targets._replace(
        logprobs=torch.full_like(targets.logprobs, -torch.inf),
        tail=torch.full_like(targets.tail, -torch.inf),
        present=torch.zeros_like(targets.present),
    )
    ours = run(soft_cross_entropy, hidden, head, nothing, label_weight=0.3, tail=tail)
    label_only = run(soft_cross_entropy, hidden, head, targets, label_weight=1.0, tail=tail)
    for mine, reference in zip(ours[:3], label_only[:3], strict=True):
        torch.testing.assert_close(mine, reference)


def test_counts_of_largest_tokens_are_those_of_all_logits():
    hidden, head, targets = make(4, n=40, empty=0.3, absent=0.3)
    sums = soft_cross_entropy(hidden, head, targets, label_weight=0.5, chunk_rows=7)
    best = (hidden @ head.T).argmax(1)
    usable = targets.present & torch.isfinite(targets.logprobs).any(1)
    top = targets.ids.gather(1, targets.logprobs.argmax(1, keepdim=True))[:, 0]
    assert int(sums.right) == int((best == targets.labels).sum())
    assert 0 < int(sums.agrees) == int((usable & (best == top)).sum())
    assert int(sums.soft) == int(usable.sum()) < sums.rows == 40
    labels = soft_cross_entropy(hidden, head, targets, label_weight=1.0)
    assert (int(labels.right), int(labels.agrees), int(labels.soft)) == (int(sums.right), 0, 0)
