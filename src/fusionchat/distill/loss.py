# N supervised rows, K kept tokens, V pivot vocabulary, H hidden size
"""The distillation loss: sparse soft targets against a linear head, chunk by chunk. PURE.

    L = sum_i  lambda * CE(label_i) + (1 - lambda) * D(q_i || p_i)          (section 3.2, arXiv 2402.16107v6)

q is a fused distribution: K kept tokens and the mass of the rest; p is the student's softmax. With S the kept
tokens, m = sum_S q and P = 1 - sum_S p:

    tail bucket:       D = sum_S q (log q - log p) + (1 - m)(log(1 - m) - log P)
    tail renormalize:  D = sum_S q/m (log(q/m) - log p)

With ``focus`` g > 0 each row weighs (1 - p(label))^g, a number without a gradient: the focal weight of arXiv
1708.02002v2, Eq. 4, here of both terms. Rows whose label the student already knows then count little.

The logits' gradient has a closed form, so it is made in the forward pass and no [N, V] array outlives a
chunk.
"""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fusionchat.distill.gradient import Goal, Losses, goal, logit_gradient
from fusionchat.distill.products import (
    add_head_gradient,
    block_rows,
    default_rows,
    exact_logits,
    in_place,
    raw_logits,
)
from fusionchat.models.logits import PLAIN, HeadShape, wide
from fusionchat.represent.select import largest

Tail = Literal["bucket", "renormalize"]
EXACT = 8
"""How many of a row's largest half-precision logits are computed exactly.

The errors of the others are many, small and of either sign.
"""


SUMS = 5
"""The number of sums that `_sums` returns."""


class SoftTargets(NamedTuple):
    """The targets of the student, one row for each supervised token.

    Attributes:
        ids: int64 [N, K].
        logprobs: float [N, K], -inf in an empty slot.
        tail: float [N], log of the mass outside the kept tokens.
        labels: int64 [N].
        present: bool [N]; a row without a distribution, or without a kept token, is trained on its label
            alone.
        own: bool [N], rows of the student's own text: trained on their distributions alone, or not at all.
            None if there are none.
    """

    ids: Int[Tensor, "N K"]
    logprobs: Float[Tensor, "N K"]
    tail: Float[Tensor, " N"]
    labels: Int[Tensor, " N"]
    present: Bool[Tensor, " N"]
    own: Bool[Tensor, " N"] | None = None


class LossSums(NamedTuple):
    """Sums over rows, in nats; divide by the global number of supervised tokens once.

    Attributes:
        loss: Scalar with a graph.
        label: Scalar, sum of CE(label), no graph.
        divergence: Scalar, sum of D over the rows whose distribution counts, no graph.
        rows: N.
        right: Scalar, rows whose label has the student's largest logit.
        agrees: Scalar, rows in which the distribution's largest token has it.
        soft: Scalar, rows whose distribution counts: they have one, and lambda is below 1.
    """

    loss: Float[Tensor, ""]
    label: Float[Tensor, ""]
    divergence: Float[Tensor, ""]
    rows: int
    right: Float[Tensor, ""]
    agrees: Float[Tensor, ""]
    soft: Int[Tensor, ""]


def soft_cross_entropy(
    hidden_NH: Float[Tensor, "N H"],
    head_VH: Float[Tensor, "V H"],
    targets: SoftTargets,
    *,
    label_weight: float,
    tail: Tail = "bucket",
    focus: float = 0.0,
    bias_V: Float[Tensor, " V"] | None = None,
    rounded_VH: Float[Tensor, "V H"] | None = None,
    shape: HeadShape = PLAIN,
    chunk_rows: int | None = None,
) -> LossSums:
    """Sum over rows of lambda CE(label) + (1 - lambda) D(q || p), in nats, with gradients.

    Hidden states, head and bias get gradients.

    Args:
        hidden_NH: The student's hidden states at the rows.
        head_VH: The head's weight; its gradient adds up in fp32 (fp64 for fp64).
        targets: Labels and fused distributions.
        label_weight: lambda in [0, 1]; 1 is plain fine-tuning, which ignores the distributions.
        tail: ``bucket`` or ``renormalize``.
        focus: The power of 1 - p(label) that weights each row; 0 for equal weights.
        bias_V: The head's bias.
        rounded_VH: The head's weight in the dtype of the states, if already made; without a graph.
        shape: Scale and soft cap of the logits.
        chunk_rows: Rows at a time; by default `default_rows`.

    Returns:
        Sums in fp32 (fp64 for fp64 states); with N = 0 the loss is 0 with a graph: hidden states, head and
        bias get gradients of 0, because ranks without supervised rows must take part in the exchange.
    """
    n, v = hidden_NH.shape[0], head_VH.shape[0]
    usable = targets.present & torch.isfinite(targets.logprobs).any(dim=1)
    weight = torch.ones(n, dtype=wide(hidden_NH.dtype), device=hidden_NH.device)
    weight = weight.masked_fill(usable, label_weight)
    if targets.own is not None:
        weight = weight.masked_fill(targets.own, 0.0)
    bucket, soft = tail == "bucket", weight < 1
    work = _Work(
        head_VH.detach().to(hidden_NH.dtype) if rounded_VH is None else rounded_VH,
        goal(targets.labels, weight, targets.ids, targets.logprobs, targets.tail if bucket else None),
        soft=bool(soft.any()),
        bucket=bucket,
        focus=focus,
        shape=shape,
        rows=chunk_rows or default_rows(v, hidden_NH.dtype, hidden_NH.device),
    )
    loss, label, divergence, right, agrees = _SoftCrossEntropy.apply(hidden_NH, head_VH, bias_V, work)
    return LossSums(loss, label, divergence, n, right, agrees, soft.sum())


class _Work(NamedTuple):
    """The inputs of a loss that get no gradient; ``rows`` rows are computed at a time.

    ``head_VH`` is the head's weight in the dtype of the states, without a graph.
    """

    head_VH: Tensor
    towards: Goal
    soft: bool
    bucket: bool
    focus: float
    shape: HeadShape
    rows: int

    def gradient(
        self, raw_NV: Tensor, hidden_NH: Tensor, bias_V: Tensor | None, rows: slice
    ) -> tuple[Tensor, Tensor]:
        """The gradient of some rows' head products, in the states' dtype, and the rows' sums (`_sums`).

        This goes block by block, so that a block's logits stay in the processor's cache. A half-precision
        block is computed in fp32, with exact logits of the label and of the kept tokens (without kept tokens:
        of the largest logits).
        """
        exact, towards = wide(hidden_NH.dtype), self.towards.part(rows)
        same = in_place(hidden_NH.dtype, hidden_NH.device)
        out = raw_NV if same else torch.empty_like(raw_NV, dtype=hidden_NH.dtype)
        sums = torch.zeros(
            SUMS, dtype=torch.float64 if raw_NV.device.type != "mps" else exact, device=raw_NV.device
        )
        step = block_rows(raw_NV.shape[1], raw_NV.device)
        scratch = None if raw_NV.dtype == exact else torch.empty_like(raw_NV[:step], dtype=exact)
        for start in range(0, raw_NV.shape[0], step):
            part = slice(start, start + step)
            mine, logits = towards.part(part), raw_NV[part]
            # 1. logits x in fp32; of a half-precision product the heaviest ones are computed exactly
            if scratch is not None:
                logits = scratch[: len(logits)].copy_(logits)
                kept = mine.ids if self.soft else largest(logits, min(EXACT, logits.shape[1]))[1]
                ids = torch.cat([kept, mine.labels], dim=1)
                logits.scatter_(1, ids, exact_logits(hidden_NH[part], self.head_VH, ids))
            # 2. what the structure does to them: z(x), and dz/dx
            if bias_V is not None:
                logits = logits.add_(bias_V)
            shaped = self.shape.apply(logits)
            slope = self.shape.slope(shaped)
            # 3. losses, and dL/dz in place of z; with a focus each row weighs (1 - p(label))^g
            losses = logit_gradient(shaped, mine, soft=self.soft, bucket=self.bucket)
            share = row_weights(losses.label, self.focus)
            if share is not None:
                shaped.mul_(share[:, None])
            sums += _sums(losses, mine.weight, share)
            # 4. dL/dx = dL/dz dz/dx, rounded once
            gradient = shaped if slope is None else shaped.mul_(slope)
            if gradient.data_ptr() != out[part].data_ptr():
                out[part] = gradient
        return out, sums


def row_weights(label_N: Float[Tensor, " N"], focus: float) -> Float[Tensor, " N"] | None:
    """(1 - p)^focus of the label's probability p = exp(-CE); None if all rows weigh 1."""
    return None if focus == 0 else (-torch.expm1(-label_N)).clamp_min(0.0) ** focus


def _sums(losses: Losses, weight_N: Tensor, share_N: Tensor | None) -> Tensor:
    """Sums over rows: the weighted loss, then unweighted the label part, the divergence and both counts.

    The counts are of largest tokens.
    """
    label, divergence, right, agrees = losses
    loss = weight_N * label + (1 - weight_N) * divergence
    loss = loss if share_N is None else share_N * loss
    return torch.stack((loss.sum(), label.sum(), divergence.sum(), right.sum(), agrees.sum()))


class _SoftCrossEntropy(torch.autograd.Function):
    """Forward makes the gradients chunk by chunk; backward scales them."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden_NH: Tensor, head_VH: Tensor, bias_V: Tensor | None, work: _Work
    ) -> tuple[Tensor, ...]:
        wants, exact, n, head = ctx.needs_input_grad, wide(hidden_NH.dtype), hidden_NH.shape[0], work.head_VH
        make = torch.empty if n else torch.zeros
        grad_hidden = torch.empty_like(hidden_NH) if wants[0] else None
        grad_head = make(head_VH.shape, dtype=exact, device=head_VH.device) if wants[1] else None
        grad_bias = torch.zeros_like(bias_V, dtype=exact) if wants[2] and bias_V is not None else None
        sums = torch.zeros(SUMS, dtype=exact, device=hidden_NH.device)
        buffer = head.new_empty(min(work.rows, n), head.shape[0]) if head.device.type == "cpu" else None
        for start in range(0, n, work.rows):
            part = slice(start, start + work.rows)
            hidden = hidden_NH[part]
            raw = raw_logits(hidden, head, buffer)
            gradient, own = work.gradient(raw, hidden, bias_V, part)
            sums = sums + own
            if grad_hidden is not None:
                torch.mm(gradient, head, out=grad_hidden[part])
            if grad_head is not None:
                add_head_gradient(grad_head, gradient, hidden, first=start == 0)
            if grad_bias is not None:
                grad_bias += gradient.to(exact).sum(0)
        ctx.save_for_backward(grad_hidden, grad_head, grad_bias)
        ctx.dtypes = (head_VH.dtype, None if bias_V is None else bias_V.dtype)
        loss, *others = (one.clone() for one in sums.to(exact))  # FSDP wants no views of one tensor
        ctx.mark_non_differentiable(*others)
        return loss, *others

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_hidden, grad_head, grad_bias = ctx.saved_tensors
        upstream = grads[0]
        head_dtype, bias_dtype = ctx.dtypes
        return (
            None if grad_hidden is None else grad_hidden * upstream.to(grad_hidden.dtype),
            # in place, so that there are never two of its size; a second backward of the same graph is an error
            None if grad_head is None else grad_head.mul_(upstream).to(head_dtype),
            None if grad_bias is None else (grad_bias * upstream).to(bias_dtype),
            None,
        )
