"""The dense loss that ours is compared with has FuseChat's gradient; freed memory counts when it is taken again."""

import torch
from benchmarks.distill_cases import Loss, Size, give_back, most_mb


def test_dense_targets_have_the_gradient_of_both_cross_entropies():
    """Of logits: 0.5 (p - label) + 0.5 (m p - q) with m = sum q, at supervised positions alone."""
    loss = Loss(Size(6, 8, 1200))
    loss.dense()
    hidden, head, goals = loss.whole.detach(), loss.head.detach(), loss.targets
    q = torch.zeros(6, 1200).scatter_(1, goals.ids, goals.logprobs.exp().bfloat16().float())
    label = torch.nn.functional.one_hot(goals.labels, 1200).float()
    p = (hidden[loss.at] @ head.T).softmax(1)
    expected = torch.zeros(10, 8)
    expected[loss.at] = (0.5 * (p - label) + 0.5 * (q.sum(1, keepdim=True) * p - q)) @ head
    torch.testing.assert_close(loss.whole.grad, expected)


def test_memory_that_was_freed_before_counts():
    def work() -> None:
        held = [torch.zeros(2**17, dtype=torch.uint8) for _ in range(400)]
        held.clear()

    work()
    give_back()
    assert most_mb(work) > 30
