# B conversations of a batch, L padded length, H hidden size, V vocabulary, N supervised rows, C conversations
"""Bits a model needs for the supervised tokens of each conversation: the numerator of bits per byte."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

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


class Batch(NamedTuple):
    """Padded conversations and where their supervised tokens are.

    ``rows`` and ``columns`` [N] address the position that predicts each supervised token, ``labels`` [N] is
    that token.
    """

    input_ids: Int[Tensor, "B L"]
    attention_mask: Int[Tensor, "B L"]
    rows: Int[Tensor, " N"]
    columns: Int[Tensor, " N"]
    labels: Int[Tensor, " N"]


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
    for members in length_batches([len(r.input_ids) for r in rendered], batch_tokens):
        batch = pad([rendered[i] for i in members], device)
        nats_N = label_nats(head, batch).double().cpu().numpy()
        rows_N = batch.rows.cpu().numpy()
        bits_C[members] = np.bincount(rows_N, weights=nats_N, minlength=len(members)) / math.log(2)
        progress(len(members))
    return bits_C


def length_batches(lengths: Sequence[int], batch_tokens: int) -> list[NDArray[np.intp]]:
    """Indices in batches of neighbouring lengths, longest first, so that too large a batch fails at once.

    The padded size of a batch is at most ``batch_tokens``, except that every batch has one member at least.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, lengths[order[start]]))
        batches.append(order[start : start + count])
        start += count
    return batches


def pad(rendered: Sequence["Rendered"], device: torch.device | str) -> Batch:
    """Conversations padded on the right: causal models then give real positions the same values as unpadded."""
    length = max(len(r.input_ids) for r in rendered)
    ids_BL = np.zeros((len(rendered), length), dtype=np.int64)
    mask_BL = np.zeros_like(ids_BL)
    for i, one in enumerate(rendered):
        assert len(one.rows) == 0 or int(np.min(one.rows)) > 0, "nothing predicts the first token"
        ids_BL[i, : len(one.input_ids)] = one.input_ids
        mask_BL[i, : len(one.input_ids)] = 1
    rows_N = np.repeat(np.arange(len(rendered)), [len(r.rows) for r in rendered])
    places_N = np.concatenate([np.asarray(r.rows, dtype=np.int64) for r in rendered])
    arrays = (ids_BL, mask_BL, rows_N, places_N - 1, ids_BL[rows_N, places_N])
    return Batch(*(torch.from_numpy(array).to(device) for array in arrays))


def label_nats(head: ScoringHead, batch: Batch) -> Float[Tensor, " N"]:
    """-ln p of every supervised token, fp32; only their positions reach the head, a chunk at a time."""
    hidden_NH = head.hidden(batch.input_ids, batch.attention_mask)[batch.rows, batch.columns]
    parts, done = [], 0
    chunk = 1  # the first chunk tells the size of the vocabulary
    while done < len(batch.labels):
        logits_NV = head.logits(hidden_NH[done : done + chunk]).float()
        labels_N = batch.labels[done : done + chunk]
        parts.append(torch.nn.functional.cross_entropy(logits_NV, labels_N, reduction="none"))
        done += chunk
        chunk = max(1, LOGITS // logits_NV.shape[1])
    return torch.cat(parts) if parts else hidden_NH.new_zeros(0, dtype=torch.float32)
