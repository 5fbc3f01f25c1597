# N supervised rows, V vocabulary, H hidden size, C conversations
"""Bits a model needs for the supervised tokens of each conversation: the numerator of bits per byte."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusionchat.errors import ModelError
from fusionchat.represent.batching import batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from fusionchat.corpus.render import Rendered

LOGITS = 1 << 24  # fp32 logits held at once: 64 MiB


class ScoringHead(Protocol):
    """What is needed of a model: `fusionchat.heads.Head`."""

    def hidden(self, tokens_BL: Int[Tensor, "B L"], mask_BL: Int[Tensor, "B L"], /) -> Float[Tensor, "B L H"]:
        """Last hidden states."""
        ...

    def logits(self, hidden_NH: Float[Tensor, "N H"], /) -> Float[Tensor, "N V"]:
        """Logits in fp32."""
        ...


def conversation_bits(
    model: "PreTrainedModel",
    rendered: Sequence["Rendered"],
    *,
    device: torch.device | str,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> Float[np.ndarray, " C"]:
    """Bits (log2) the model needs for the supervised tokens of each conversation, fp64 [C] in the order given.

    bits_c = -sum over its supervised tokens of log2 p(token | everything before it).

    Args:
        model: A causal language model; it is moved to ``device``.
        rendered: Conversations in the model's own template.
        device: Where to run.
        batch_tokens: Most padded tokens of one batch; a longer conversation is a batch of its own.
        progress: Called with the number of conversations done.

    Raises:
        ModelError: The model gives NaN, or probability 0.
    """
    from fusionchat.heads import Head

    head = Head.of(model.to(device).eval())  # type: ignore[arg-type]
    return head_bits(head, rendered, device=device, batch_tokens=batch_tokens, progress=progress)


@torch.inference_mode()
def head_bits(
    head: ScoringHead,
    rendered: Sequence["Rendered"],
    *,
    device: torch.device | str,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> Float[np.ndarray, " C"]:
    """`conversation_bits` of a head whose model is already on ``device``."""
    bits_C = np.zeros(len(rendered), dtype=np.float64)
    for batch in batches(rendered, batch_tokens):
        hidden = head.hidden(batch.tokens.to(device), batch.mask.to(device)).flatten(0, 1)
        hidden_NH = hidden[batch.positions.to(device)]
        nats_N = label_nats(head, hidden_NH, batch.labels.to(device)).double().cpu().numpy()
        if not np.isfinite(nats_N).all():
            raise ModelError(
                "The model gives no finite probability to its text",
                do="look for NaN in its weights, or set represent.dtype to bfloat16 or float32",
            )
        member_N = np.repeat(np.arange(len(batch.members)), [len(rendered[i].rows) for i in batch.members])
        bits_C[batch.members] = np.bincount(member_N, nats_N, minlength=len(batch.members)) / math.log(2)
        progress(len(batch.members))
    return bits_C


def label_nats(
    head: ScoringHead, hidden_NH: Float[Tensor, "N H"], labels_N: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """-ln p of every label, fp32; the head sees a chunk of rows at a time."""
    parts, done = [], 0
    chunk = 1  # the first chunk tells the size of the vocabulary
    while done < len(labels_N):
        logits_NV = head.logits(hidden_NH[done : done + chunk]).float()
        parts.append(
            torch.nn.functional.cross_entropy(logits_NV, labels_N[done : done + chunk], reduction="none")
        )
        done += chunk
        chunk = max(1, LOGITS // logits_NV.shape[1])
    return torch.cat(parts) if parts else hidden_NH.new_zeros(0, dtype=torch.float32)
