# N supervised rows, K kept tokens, V pivot vocabulary
"""From logits to losses and the gradient of the logits, in closed form and in place. PURE.

With S the kept tokens of q, m = sum_S q and P = 1 - sum_S p (`fusionchat.distill.loss`), the gradient of D is

    tail bucket:       p - q in S, p (1 - (1 - m) / P) outside
    tail renormalize:  p - q/m everywhere
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TINY = torch.finfo(torch.float32).tiny


class Goal(NamedTuple):
    """The targets of some rows of logits, ready for `logit_gradient`.

    Attributes:
        labels: int64 [N, 1].
        weight: [N], lambda; 1 for a row without a distribution.
        ids: int64 [N, K]; an empty slot repeats the first filled one, so that both write the same value.
        filled: bool [N, K].
        first: int64 [N, 1], the first filled slot.
        q: [N, K], 0 in an empty slot.
        log_q: [N, K].
        rest: [N], log of the mass outside the kept tokens.
        top: int64 [N, 1], the slot with the largest mass; of equal ones the first.
    """

    labels: Int[Tensor, "N 1"]
    weight: Float[Tensor, " N"]
    ids: Int[Tensor, "N K"]
    filled: Bool[Tensor, "N K"]
    first: Int[Tensor, "N 1"]
    q: Float[Tensor, "N K"]
    log_q: Float[Tensor, "N K"]
    rest: Float[Tensor, " N"]
    top: Int[Tensor, "N 1"]

    def part(self, rows: slice) -> "Goal":
        """Some of the rows."""
        return Goal(*(one[rows] for one in self))


def goal(
    labels_N: Int[Tensor, " N"],
    weight_N: Float[Tensor, " N"],
    ids_NK: Int[Tensor, "N K"],
    logprobs_NK: Float[Tensor, "N K"],
    tail_N: Float[Tensor, " N"] | None,
) -> Goal:
    """Labels and stored distributions as `logit_gradient` takes them; without ``tail_N``, no tail.

    Storage rounds to fp16, so the masses are rescaled to a sum of 1, with the tail or without it.
    """
    filled = torch.isfinite(logprobs_NK)
    log_q = logprobs_NK.to(weight_N.dtype)
    rest = torch.full_like(weight_N, -torch.inf) if tail_N is None else tail_N.to(weight_N.dtype)
    total = torch.logsumexp(torch.cat([log_q, rest[:, None]], dim=1), dim=1)
    total = torch.where(torch.isfinite(total), total, 0.0)
    log_q, rest = log_q - total[:, None], rest - total
    first = filled.int().argmax(1, keepdim=True)
    q = torch.where(filled, log_q.exp(), 0.0)
    return Goal(
        labels_N[:, None],
        weight_N,
        torch.where(filled, ids_NK, ids_NK.gather(1, first)),
        filled,
        first,
        q,
        log_q,
        rest,
        q.argmax(1, keepdim=True),
    )


class Losses(NamedTuple):
    """Losses of each row, in nats: CE of the label and D; and whether the largest logit is right.

    Attributes:
        label: CE of the label.
        divergence: D, 0 where it has no weight.
        right: Whether no token has a larger logit than the label.
        agrees: The same for the distribution's most likely token; False where D has no weight.
    """

    label: Float[Tensor, " N"]
    divergence: Float[Tensor, " N"]
    right: Bool[Tensor, " N"]
    agrees: Bool[Tensor, " N"]


class Softmax(NamedTuple):
    """The logarithm of each row's sum of exponentials, and its largest logit."""

    log_z: Float[Tensor, "N 1"]
    most: Float[Tensor, "N 1"]


def softmax_(logits_NV: Float[Tensor, "N V"]) -> Softmax:
    """Log of each row's sum of exponentials, and its largest logit; the logits become the softmax.

    A CPU's softmax is one vectorized pass over a row in the cache; exponentials alone, or a logsumexp, take
    four and eight times as long. The largest probability is at least 1/V, so that log z = max - log p_max is
    exact.
    """
    most = logits_NV.amax(1, keepdim=True)
    if logits_NV.device.type != "cpu":
        return Softmax(exponentials_(logits_NV, most), most)
    torch.softmax(logits_NV, 1, out=logits_NV)
    return Softmax(most - logits_NV.amax(1, keepdim=True).log(), most)


def exponentials_(logits_NV: Float[Tensor, "N V"], most_N1: Float[Tensor, "N 1"]) -> Float[Tensor, "N 1"]:
    """log z of the logits, which become their softmax exp(x - max) / sum.

    No other array of their size is made.
    """
    total = logits_NV.sub_(most_N1).exp_().sum(1, keepdim=True)
    logits_NV.div_(total)
    return most_N1 + total.log()


def logit_gradient(logits_NV: Float[Tensor, "N V"], towards: Goal, *, soft: bool, bucket: bool) -> Losses:
    """Losses of rows of logits (fp32 or fp64), which become the gradient of lambda CE + (1 - lambda) D.

    Args:
        logits_NV: Overwritten.
        towards: Labels, weights and distributions.
        soft: Whether any row's distribution counts.
        bucket: Whether the tail is one more entry.
    """
    # 1. read what is needed of the logits before they are overwritten
    label = logits_NV.gather(1, towards.labels)
    kept = logits_NV.gather(1, towards.ids) if soft else label
    log_z, most = softmax_(logits_NV)  # 2. p
    label_loss, right = (log_z - label).squeeze(1), (label >= most).squeeze(1)
    weight = towards.weight[:, None]
    if not soft:
        logits_NV.scatter_add_(1, towards.labels, -weight)
        return Losses(label_loss, torch.zeros_like(label_loss), right, torch.zeros_like(right))

    # 3. D over the kept tokens: sum_S q (log q - log p)
    log_p = kept - log_z
    divergence = torch.where(towards.filled, towards.q * (towards.log_q - log_p), 0.0).sum(1)
    if bucket:
        # 4. P is summed over the tokens outside S, never taken as 1 minus a sum; they get p (1 - (1 - m) / P)
        logits_NV.scatter_(1, towards.ids, 0.0)
        outside = logits_NV.sum(1).clamp_min(TINY)
        mass = towards.rest.exp()
        divergence += torch.where(mass > 0, mass * (towards.rest - outside.log()), 0.0)
        logits_NV.mul_(1.0 - (1.0 - weight) * (mass / outside)[:, None])
    # 5. p - q in S, and the label's share
    there = log_p.exp() - (1.0 - weight) * towards.q
    there = torch.where(towards.filled, there, there.gather(1, towards.first))
    logits_NV.scatter_(1, towards.ids, there)
    logits_NV.scatter_add_(1, towards.labels, -weight)
    agrees = (kept.gather(1, towards.top) >= most).squeeze(1) & (towards.weight < 1)
    return Losses(label_loss, torch.where(towards.weight < 1, divergence, 0.0), right, agrees)
