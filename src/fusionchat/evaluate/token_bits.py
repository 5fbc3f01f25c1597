# N supervised rows, V vocabulary, H hidden size
"""Bits that a model needs for each supervised token: the numerator of bits per byte."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusionchat.represent.batching import batches, require_finite
from fusionchat.represent.bits import NATS_PER_BIT

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from fusionchat.corpus.render import Rendered

LOGITS = 1 << 24  # fp32 logits held at once: 64 MiB


class ScoringHead(Protocol):
    """The part of `fusionchat.models.head.Head` that is used here."""

    def hidden(self, tokens_BL: Int[Tensor, "B L"], mask_BL: Int[Tensor, "B L"], /) -> Float[Tensor, "B L H"]:
        """Last hidden states."""
        ...

    def logits(self, hidden_NH: Float[Tensor, "N H"], /) -> Float[Tensor, "N V"]:
        """Logits in fp32."""
        ...


def token_bits(
    model: "PreTrainedModel",
    rendered: Sequence["Rendered"],
    *,
    names: Sequence[str],
    device: torch.device | str,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> Float[np.ndarray, " N"]:
    """Bits (log2) for each supervised token, fp64 [N], in the order of the conversations.

    bits_i = -log2 p(token i | everything before it).

    Args:
        model: A causal language model; it is moved to ``device``.
        rendered: Conversations in the model's own template.
        names: The conversations' ids, for messages.
        device: Where to run.
        batch_tokens: Most padded tokens of one batch; a longer conversation is a batch of its own.
        progress: Called with the number of conversations done.

    Raises:
        ModelError: The model gives NaN, infinite logits, or a token of the text probability 0.
    """
    from fusionchat.models.head import Head
    from fusionchat.models.offloaded import is_placed

    head = Head.of((model if is_placed(model) else model.to(device)).eval())  # type: ignore[arg-type]
    return head_bits(head, rendered, names=names, device=device, batch_tokens=batch_tokens, progress=progress)


@torch.inference_mode()
def head_bits(
    head: ScoringHead,
    rendered: Sequence["Rendered"],
    *,
    names: Sequence[str],
    device: torch.device | str,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> Float[np.ndarray, " N"]:
    """`token_bits` of a head whose model is already on ``device``."""
    rows = [len(r.rows) for r in rendered]
    offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    bits_N = np.zeros(int(offsets[-1]), dtype=np.float64)
    for batch in batches(rendered, batch_tokens):
        hidden = head.hidden(batch.tokens.to(device), batch.mask.to(device)).flatten(0, 1)
        own = hidden.device  # the head's, if a model is spread over devices
        hidden_NH = hidden[batch.positions.to(own)]
        nats_N = label_nats(head, hidden_NH, batch.labels.to(own)).double().cpu().numpy()
        require_finite(-nats_N, batch.members, rows, names)
        places = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in batch.members])
        bits_N[places] = nats_N / NATS_PER_BIT
        progress(len(batch.members))
    return bits_N


def label_nats(
    head: ScoringHead, hidden_NH: Float[Tensor, "N H"], labels_N: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """-ln p of every label, fp32; the head sees a chunk of rows at a time."""
    parts, done = [], 0
    chunk = 1  # the first chunk shows the size of the vocabulary
    while done < len(labels_N):
        logits_NV = head.logits(hidden_NH[done : done + chunk]).float()
        parts.append(
            torch.nn.functional.cross_entropy(logits_NV, labels_N[done : done + chunk], reduction="none")
        )
        done += chunk
        chunk = max(1, LOGITS // logits_NV.shape[1])
    return torch.cat(parts) if parts else hidden_NH.new_zeros(0, dtype=torch.float32)
