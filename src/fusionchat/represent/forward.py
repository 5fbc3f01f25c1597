# N rows, H hidden size
"""The forward pass of a capture: a model's distributions over rendered conversations."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusionchat.corpus.rendered_part import RenderedPart
from fusionchat.errors import ModelError
from fusionchat.models.head import Head
from fusionchat.represent.batching import Batch, batches, require_finite
from fusionchat.represent.notes import Notes
from fusionchat.represent.select import Selected, Selection, select
from fusionchat.represent.topk import Scored, TopK, as_kept


@torch.inference_mode()
def capture(
    head: Head,
    rendered: RenderedPart,
    *,
    k: int,
    vocabulary: int,
    batch_tokens: int,
    names: Sequence[str],
    advance: Callable[[int], None],
    notes: Notes | None = None,
) -> Scored:
    """The distributions of a model for every supervised token, in the order of the conversations.

    Args:
        head: The model.
        rendered: The conversations in the model's own template and tokens.
        k: Tokens kept; cut to the vocabulary's size.
        vocabulary: Tokens of the tokenizer; rows of the head past them are never kept.
        batch_tokens: Padded tokens in one forward pass.
        names: The conversations' ids, for messages.
        advance: Called with the number of tokens done.
        notes: Where measurements of sampled rows are recorded; None for nothing.

    Returns:
        The rendering's supervised tokens, with distributions over the model's own vocabulary.

    Raises:
        ModelError: The text has tokens that the model has no row for, or the model gives a token of it no
            finite log-probability: its logits have NaN or +inf anywhere, or -inf (or nearly) at that token.
    """
    # 1. every token must have a row in the model
    vocabulary = min(vocabulary, head.weight.shape[0])
    k = min(k, vocabulary)
    largest = int(rendered.input_ids.max(initial=0))
    if largest >= head.weight.shape[0]:
        raise ModelError(
            f"The tokenizer produces token {largest}, but the model has {head.weight.shape[0]} rows",
            do="use the tokenizer that belongs to the model, or resize the model's embeddings",
        )
    offsets = rendered.supervised.offsets
    n = int(offsets[-1])
    ids = np.zeros((n, k), dtype=np.int32)
    logprobs = np.zeros((n, k), dtype=np.float16)
    tail, label_logprob = np.zeros(n, dtype=np.float16), np.zeros(n, dtype=np.float32)
    # 2. batch by batch: the body on all tokens, the head on the supervised rows alone
    for batch in batches(rendered, batch_tokens):
        hidden = supervised_states(head, batch)
        kept = top_k(head, hidden, batch.labels.to(hidden.device), k, vocabulary)
        # 3. back in the order of the conversations
        rows = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in batch.members])
        ids[rows] = kept.ids.cpu().numpy()
        logprobs[rows] = as_kept(kept.logprobs.cpu().numpy())
        tail[rows] = as_kept(kept.tail.cpu().numpy())
        label_logprob[rows] = kept.label_logprob.cpu().numpy()
        require_finite(label_logprob[rows], batch.members, np.diff(offsets).tolist(), names)
        if notes is not None:
            notes.measure(head, hidden, rows)
        advance(int(batch.mask.sum()))
        del hidden, kept  # the next batch needs the memory
    return Scored(rendered.supervised, TopK(ids, logprobs, tail, np.ones(n, dtype=bool)), label_logprob)


def supervised_states(head: Head, batch: Batch) -> Float[Tensor, "N H"]:
    """The hidden states that predict a batch's supervised tokens, on the head's device.

    All others are freed.
    """
    states = head.states(batch.tokens.to(head.device), batch.mask.to(head.device)).flatten(0, 1)
    return states[batch.positions.to(states.device)]


def top_k(
    head: Head, hidden_NH: Float[Tensor, "N H"], labels_N: Int[Tensor, " N"], k: int, vocabulary: int
) -> Selected:
    """What is kept of the distributions that hidden states predict; see `fusionchat.represent.select`."""
    if hidden_NH.device.type == "cpu":
        selection = Selection(labels_N, k, vocabulary=vocabulary)
        for row, token, logits in head.tiles(hidden_NH):
            selection.add(logits, row, token)
        return selection.finish()
    parts = [
        select(logits, labels_N[row : row + len(logits)], k, vocabulary=vocabulary)
        for row, _, logits in head.tiles(hidden_NH)
    ]
    return Selected(*(torch.cat(part) for part in zip(*parts, strict=True)))
