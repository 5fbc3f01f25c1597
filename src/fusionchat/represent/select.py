# N rows, V vocabulary, K kept tokens
"""The k most likely tokens of each row, exactly, without sorting the vocabulary. PURE."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 64


class Selected(NamedTuple):
    """The kept tokens of each row.

    Attributes:
        ids: int64 [N, K], most likely first.
        logprobs: fp32 [N, K].
        tail: fp32 [N], log of the mass outside, exact however small; -inf where nothing is left.
        label_logprob: fp32 [N].
    """

    ids: Int[Tensor, "N K"]
    logprobs: Float[Tensor, "N K"]
    tail: Float[Tensor, " N"]
    label_logprob: Float[Tensor, " N"]


def largest(values: Float[Tensor, "N V"], k: int) -> tuple[Float[Tensor, "N K"], Int[Tensor, "N K"]]:
    """``values.topk(k)`` by way of block maxima: the k largest lie in the k blocks with the largest maxima."""
    n, v = values.shape
    blocks = v // BLOCK
    if blocks < 4 * k:
        top = values.topk(k)
        return top.values, top.indices
    body = values[:, : blocks * BLOCK].view(n, blocks, BLOCK)
    chosen = body.amax(dim=2).topk(k, dim=1).indices
    candidates = body.gather(1, chosen[:, :, None].expand(n, k, BLOCK)).reshape(n, k * BLOCK)
    offsets = torch.arange(BLOCK, device=values.device)
    ids = (chosen[:, :, None] * BLOCK + offsets).reshape(n, k * BLOCK)
    rest = torch.arange(blocks * BLOCK, v, device=values.device).expand(n, -1)
    candidates = torch.cat([candidates, values[:, blocks * BLOCK :]], dim=1)
    ids = torch.cat([ids, rest], dim=1)
    top = candidates.topk(k, dim=1)
    return top.values, ids.gather(1, top.indices)


def select(
    logits: Float[Tensor, "N V"], labels: Int[Tensor, " N"], k: int, *, vocabulary: int | None = None
) -> Selected:
    """The k most likely tokens, log-softmax in fp32 before the cut, and the label's log-probability.

    Args:
        logits: fp32; written to meanwhile, and as they were at the end.
        labels: The tokens that follow.
        k: At most V, and at most ``vocabulary``.
        vocabulary: Tokens of the tokenizer; rows of the head past them pad it, and their mass is tail. None for V.
    """
    assert logits.dtype == torch.float32, "log-softmax is taken in fp32"
    values, ids = largest(logits[:, :vocabulary], k)
    own = logits.gather(1, labels[:, None])
    # The rest's mass is summed over the rest: 1 minus the kept masses is lost under 1e-7. The row is read once for
    # both sums: Z = sum of the kept + sum of the rest.
    rest = torch.logsumexp(logits.scatter_(1, ids, -torch.inf), dim=1, keepdim=True)
    logits.scatter_(1, ids, values)
    log_z = torch.logsumexp(torch.cat([values, rest], dim=1), dim=1, keepdim=True)
    return Selected(ids, values - log_z, (rest - log_z).squeeze(1), (own - log_z).squeeze(1))
