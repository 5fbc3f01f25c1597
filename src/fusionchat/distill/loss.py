# N supervised rows, K kept tokens, V pivot vocabulary, H hidden size
"""The distillation loss: sparse soft targets against a linear head, chunk by chunk. PURE.

    L = sum_i  lambda * CE(label_i) + (1 - lambda) * D(q_i || p_i)          (section 3.2, arXiv 2402.16107v6)

q is a fused distribution: K kept tokens and the mass of the rest. p is the student's softmax. With S the kept
tokens, m = sum_S q and P = 1 - sum_S p:

    tail bucket:       D = sum_S q (log q - log p) + (1 - m)(log(1 - m) - log P)
    tail renormalize:  D = sum_S q/m (log(q/m) - log p)

The logits' gradient has a closed form, so it is made in the forward pass and no [N, V] array outlives a chunk.
"""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fusionchat.models.logits import PLAIN, HeadShape, operand, product, wide

Tail = Literal["bucket", "renormalize"]
CHUNK_ELEMENTS, CHUNK_ELEMENTS_GPU = 2**22, 2**26
"""Logits of a chunk: what a CPU's caches like; a GPU reads the head three times a chunk, and so needs many rows in one."""


class SoftTargets(NamedTuple):
    """What the student is trained towards, one row a supervised token.

    Attributes:
        ids: int64 [N, K].
        logprobs: float [N, K], -inf in an empty slot.
        tail: float [N], log of the mass outside the kept tokens.
        labels: int64 [N].
        present: bool [N]; a row without a distribution, or with no kept token, is trained on its label alone.
    """

    ids: Int[Tensor, "N K"]
    logprobs: Float[Tensor, "N K"]
    tail: Float[Tensor, " N"]
    labels: Int[Tensor, " N"]
    present: Bool[Tensor, " N"]


class LossSums(NamedTuple):
    """Sums over rows, in nats; divide by the global number of supervised tokens once.

    Attributes:
        loss: Scalar with a graph.
        label: Scalar, sum of CE(label), no graph.
        divergence: Scalar, sum of D over the rows that have a distribution, no graph.
        rows: N.
    """

    loss: Float[Tensor, ""]
    label: Float[Tensor, ""]
    divergence: Float[Tensor, ""]
    rows: int


def soft_cross_entropy(
    hidden_NH: Float[Tensor, "N H"],
    head_VH: Float[Tensor, "V H"],
    targets: SoftTargets,
    *,
    label_weight: float,
    tail: Tail = "bucket",
    bias_V: Float[Tensor, " V"] | None = None,
    shape: HeadShape = PLAIN,
    chunk_rows: int | None = None,
) -> LossSums:
    """Sum over rows of lambda CE(label) + (1 - lambda) D(q || p), with gradients for hidden states, head and bias.

    Args:
        hidden_NH: The student's hidden states at the rows.
        head_VH: The head's weight; its gradient adds up in fp32 (fp64 for fp64).
        targets: Labels and fused distributions.
        label_weight: lambda in [0, 1]; 1 is plain fine-tuning and the distributions are not looked at.
        tail: ``bucket`` or ``renormalize``.
        bias_V: The head's bias.
        shape: Scale and soft cap of the logits.
        chunk_rows: Rows at a time; by default `default_rows`.

    Returns:
        Sums in fp32 (fp64 for fp64 states); with N = 0 the loss is 0 with a live graph: hidden states, head and bias
        get gradients of 0, which ranks without supervised rows owe the others.
    """
    n, v = hidden_NH.shape[0], head_VH.shape[0]
    rows = chunk_rows or default_rows(v, hidden_NH.device)
    usable = targets.present & torch.isfinite(targets.logprobs).any(dim=1)
    weight = torch.ones(n, dtype=wide(hidden_NH.dtype), device=hidden_NH.device)
    weight = weight.masked_fill(usable, label_weight)
    loss, label, divergence = _SoftCrossEntropy.apply(
        hidden_NH, head_VH, bias_V, targets, weight, tail == "bucket", shape, rows
    )
    return LossSums(loss, label, divergence, n)


def default_rows(vocabulary: int, device: torch.device) -> int:
    """Rows of a chunk: about 4 M logits on a CPU, 64 M (256 MiB in fp32) on a GPU."""
    return max(1, (CHUNK_ELEMENTS if device.type == "cpu" else CHUNK_ELEMENTS_GPU) // vocabulary)


class _Chunk(NamedTuple):
    """Per-row losses [n] and the gradient of their weighted sum with respect to the logits [n, V]."""

    label: Tensor
    divergence: Tensor
    gradient: Tensor


def logit_gradient(logits_NV: Tensor, targets: SoftTargets, weight_N: Tensor, bucket: bool) -> _Chunk:
    """Losses and closed-form gradient for one chunk; ``logits_NV`` (fp32 or fp64) is overwritten by the gradient.

    In the kept tokens S the gradient of D is p - q, outside it is p (1 - (1 - m) / P); for ``renormalize`` it is
    p - q/m everywhere. P is summed over the tokens outside S, never taken as 1 minus a sum.
    """
    labels = targets.labels[:, None]
    log_z = torch.logsumexp(logits_NV, dim=-1, keepdim=True)
    label_loss = (log_z - logits_NV.gather(1, labels)).squeeze(1)
    if bool((weight_N == 1).all()):
        gradient = logits_NV.sub_(log_z).exp_()
        gradient.scatter_add_(1, labels, torch.full_like(labels, -1, dtype=gradient.dtype))
        return _Chunk(label_loss, torch.zeros_like(label_loss), gradient)

    filled = torch.isfinite(targets.logprobs)
    # Storage rounds to fp16, so the masses are brought back to a sum of 1: with the tail, or without it.
    log_q, rest = targets.logprobs.to(logits_NV.dtype), targets.tail.to(logits_NV.dtype)
    total = torch.logsumexp(torch.cat([log_q, rest[:, None]], dim=1) if bucket else log_q, dim=1)
    total = torch.where(torch.isfinite(total), total, 0.0)
    log_q, rest = log_q - total[:, None], rest - total
    q = torch.where(filled, log_q.exp(), 0.0)
    # An empty slot repeats the first filled one, so that what is written through it is what that one writes.
    first = filled.int().argmax(1, keepdim=True)
    ids = torch.where(filled, targets.ids, targets.ids.gather(1, first))
    log_p = logits_NV.gather(1, ids) - log_z
    divergence = torch.where(filled, q * (log_q - log_p), 0.0).sum(1)
    p_kept = log_p.exp()

    gradient = logits_NV.sub_(log_z).exp_()
    soft = (1.0 - weight_N)[:, None]
    if bucket:
        gradient.scatter_(1, ids, 0.0)
        outside = gradient.sum(1).clamp_min(torch.finfo(torch.float32).tiny)
        mass = rest.exp()
        divergence = divergence + torch.where(mass > 0, mass * (rest - outside.log()), 0.0)
        gradient.mul_(1.0 - soft * (mass / outside)[:, None])
    kept = p_kept - soft * q
    gradient.scatter_(1, ids, torch.where(filled, kept, kept.gather(1, first)))
    gradient.scatter_add_(1, labels, -weight_N[:, None])
    divergence = torch.where(weight_N < 1, divergence, 0.0)
    return _Chunk(label_loss, divergence, gradient)


class _SoftCrossEntropy(torch.autograd.Function):
    """Forward makes the gradients chunk by chunk; backward scales them."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden_NH: Tensor,
        head_VH: Tensor,
        bias_V: Tensor | None,
        targets: SoftTargets,
        weight_N: Tensor,
        bucket: bool,
        shape: HeadShape,
        rows: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wants, exact = ctx.needs_input_grad, wide(hidden_NH.dtype)
        grad_hidden = torch.empty_like(hidden_NH) if wants[0] else None
        grad_head = torch.zeros(head_VH.shape, dtype=exact, device=head_VH.device) if wants[1] else None
        grad_bias = torch.zeros_like(bias_V, dtype=exact) if wants[2] and bias_V is not None else None
        sums = torch.zeros(3, dtype=torch.float64 if hidden_NH.device.type != "mps" else torch.float32)
        sums = sums.to(hidden_NH.device)
        head = head_VH.to(hidden_NH.dtype)
        factor = operand(head, head.dtype)
        for start in range(0, hidden_NH.shape[0], rows):
            part = slice(start, start + rows)
            hidden = hidden_NH[part]
            raw = product(hidden, factor)
            shaped = shape.apply(raw if bias_V is None else raw + bias_V.to(exact))
            slope = shape.slope(shaped)
            weight = weight_N[part]
            chunk = logit_gradient(shaped, SoftTargets(*(t[part] for t in targets)), weight, bucket)
            sums[0] += (weight * chunk.label + (1 - weight) * chunk.divergence).sum()
            sums[1] += chunk.label.sum()
            sums[2] += chunk.divergence.sum()
            gradient = (chunk.gradient if slope is None else chunk.gradient * slope).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = gradient @ head
            if grad_head is not None:
                grad_head += (gradient.T @ hidden).to(exact)
            if grad_bias is not None:
                grad_bias += gradient.to(exact).sum(0)
        ctx.save_for_backward(grad_hidden, grad_head, grad_bias)
        ctx.dtypes = (head_VH.dtype, None if bias_V is None else bias_V.dtype)
        loss, label, divergence = (one.clone() for one in sums.to(exact))  # FSDP wants no views of one tensor
        ctx.mark_non_differentiable(label, divergence)
        return loss, label, divergence

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_hidden, grad_head, grad_bias = ctx.saved_tensors
        upstream = grads[0]
        head_dtype, bias_dtype = ctx.dtypes
        return (
            None if grad_hidden is None else grad_hidden * upstream.to(grad_hidden.dtype),
            None if grad_head is None else (grad_head * upstream).to(head_dtype),
            None if grad_bias is None else (grad_bias * upstream).to(bias_dtype),
            None,
            None,
            None,
            None,
            None,
        )
