"""Capture with transformers: run a model over rendered conversations and keep its distributions."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from fusionchat.corpus.render import Rendered
from fusionchat.heads import Head
from fusionchat.represent.select import select
from fusionchat.represent.topk import TopK

HEAD_ELEMENTS = 2**26


class Batch(NamedTuple):
    """A right-padded batch.

    Attributes:
        members: Indices of its conversations.
        tokens: int64 [B, L].
        mask: int64 [B, L], 1 for a real token.
        positions: int64 [N], flat index (b * L + position) of the state that predicts each supervised token.
        labels: int64 [N].
    """

    members: list[int]
    tokens: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor


def batches(rendered: Sequence[Rendered], batch_tokens: int) -> Iterator[Batch]:
    """Length-sorted batches of at most ``batch_tokens`` padded tokens (at least one conversation each)."""
    order = sorted(range(len(rendered)), key=lambda i: (len(rendered[i].input_ids), i))
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * len(rendered[order[stop]].input_ids) <= batch_tokens:
            stop += 1
        yield pad_batch(order[start:stop], rendered)
        start = stop


def pad_batch(members: list[int], rendered: Sequence[Rendered]) -> Batch:
    """Pad some conversations on the right; the pad id does not matter behind the mask."""
    length = max(len(rendered[i].input_ids) for i in members)
    tokens = np.zeros((len(members), length), dtype=np.int64)
    mask = np.zeros_like(tokens)
    positions, labels = [], []
    for row, i in enumerate(members):
        ids = rendered[i].input_ids
        tokens[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
        positions.append(row * length + rendered[i].rows.astype(np.int64) - 1)
        labels.append(ids[rendered[i].rows].astype(np.int64))
    return Batch(
        list(members),
        torch.from_numpy(tokens),
        torch.from_numpy(mask),
        torch.from_numpy(np.concatenate(positions)),
        torch.from_numpy(np.concatenate(labels)),
    )


@torch.inference_mode()
def capture(
    head: Head, rendered: Sequence[Rendered], *, k: int, batch_tokens: int, advance: Callable[[int], None]
) -> TopK:
    """The distributions of a model for every supervised token, in the order of the conversations.

    Args:
        head: The model.
        rendered: The conversations in the model's own template and tokens.
        k: Tokens kept; cut to the vocabulary's size.
        batch_tokens: Padded tokens in one forward pass.
        advance: Called with the number of conversations done.

    Returns:
        A TopK in the model's own vocabulary.
    """
    k = min(k, head.weight.shape[0])
    offsets = np.concatenate([[0], np.cumsum([len(r.rows) for r in rendered])]).astype(np.int64)
    n, device = int(offsets[-1]), head.weight.device
    ids = np.zeros((n, k), dtype=np.int32)
    logprobs = np.zeros((n, k), dtype=np.float16)
    tail, label_logprob = np.zeros(n, dtype=np.float16), np.zeros(n, dtype=np.float32)
    chunk = max(1, HEAD_ELEMENTS // head.weight.shape[0])
    for batch in batches(rendered, batch_tokens):
        hidden = head.hidden(batch.tokens.to(device), batch.mask.to(device)).flatten(0, 1)
        hidden = hidden[batch.positions.to(device)]
        rows = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in batch.members])
        labels = batch.labels.to(device)
        for first in range(0, len(rows), chunk):
            part = slice(first, first + chunk)
            kept = select(head.logits(hidden[part]), labels[part], k)
            ids[rows[part]] = kept.ids.cpu().numpy()
            logprobs[rows[part]] = kept.logprobs.cpu().numpy()
            tail[rows[part]] = kept.tail.cpu().numpy()
            label_logprob[rows[part]] = kept.label_logprob.cpu().numpy()
        advance(len(batch.members))
    join = [np.concatenate([getattr(r, name) for r in rendered]) for name in ("turn", "begin", "end")]
    return TopK(
        ids=ids,
        logprobs=logprobs,
        tail=tail,
        labels=np.concatenate([r.input_ids[r.rows] for r in rendered]).astype(np.int32),
        label_logprob=label_logprob,
        turn=join[0].astype(np.int32),
        begin=join[1].astype(np.int32),
        end=join[2].astype(np.int32),
        present=np.ones(n, dtype=bool),
        offsets=offsets,
    )
