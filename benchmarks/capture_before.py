"""The capture of commit 60dfd0c, kept to be compared with: its batches, its product, its selection.

Batches of 16,384 tokens with a mask; logits and selection in chunks of 2^26 elements, a half-precision weight converted
to float32 for every chunk; two passes over the logits. Its ``auto`` is float32 on every CPU.
"""

import torch
from torch import Tensor

from fusionchat.corpus.rendered_part import RenderedPart
from fusionchat.models.head import Head
from fusionchat.represent.batching import batches
from fusionchat.represent.select import Selected, largest

BATCH_TOKENS, ELEMENTS = 16_384, 2**26


@torch.inference_mode()
def before(head: Head, text: RenderedPart, k: int) -> None:
    """The loop of `capture`."""
    chunk = max(1, ELEMENTS // head.weight.shape[0])
    for batch in batches(text, BATCH_TOKENS):
        hidden = head.hidden(batch.tokens, batch.mask).flatten(0, 1)[batch.positions]
        for first in range(0, len(hidden), chunk):
            part = slice(first, first + chunk)
            logits = torch.nn.functional.linear(hidden[part].float(), head.weight.float())
            select(logits, batch.labels[part], k)


def select(logits: Tensor, labels: Tensor, k: int) -> Selected:
    """The selection; its tail is the difference of 1 and the kept masses."""
    log_z = torch.logsumexp(logits, dim=1, keepdim=True)
    values, ids = largest(logits, k)
    logprobs = values - log_z
    tail = torch.log((1.0 - logprobs.exp().sum(dim=1)).clamp_min(0.0))
    return Selected(ids, logprobs, tail, (logits.gather(1, labels[:, None]) - log_z).squeeze(1))
