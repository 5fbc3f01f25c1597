"""The distillation loss as the formulas say it, dense and slow, for tests and benchmarks."""

import torch


def dense_loss(hidden, head, targets, *, label_weight, tail, bias_V=None, shape, focus=0.0):
    logits = hidden @ head.T if bias_V is None else hidden @ head.T + bias_V
    logits = logits * shape.scale
    if shape.softcap:
        logits = torch.tanh(logits / shape.softcap) * shape.softcap
    log_p = logits.log_softmax(-1)
    total = hidden.new_zeros(())
    for row in range(len(hidden)):
        label = -log_p[row, targets.labels[row]]
        filled = torch.isfinite(targets.logprobs[row])
        share = (1 - log_p[row, targets.labels[row]].detach().exp()) ** focus
        if not targets.present[row] or not filled.any():
            total = total + share * label
            continue
        kept, log_q = targets.ids[row][filled], targets.logprobs[row][filled]
        outside = torch.ones(log_p.shape[1], dtype=torch.bool)
        outside[kept] = False
        if tail == "bucket":
            rest = targets.tail[row]
            divergence = (log_q.exp() * (log_q - log_p[row, kept])).sum()
            if rest > -torch.inf:
                divergence = divergence + rest.exp() * (rest - log_p[row, outside].logsumexp(0))
        else:
            log_q = log_q - log_q.logsumexp(0)
            divergence = (log_q.exp() * (log_q - log_p[row, kept])).sum()
        total = total + share * (label_weight * label + (1 - label_weight) * divergence)
    return total
