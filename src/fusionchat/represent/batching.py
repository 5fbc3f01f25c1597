# B conversations of a batch, L padded length, N supervised rows
"""Length-sorted, right-padded batches of rendered conversations, and where their supervised rows are."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusionchat.corpus.render import Rendered
from fusionchat.errors import ModelError
from fusionchat.represent.topk import LEAST_LOGPROB

ON_CPU, ON_DEVICE = 2048, 16384
"""Padded tokens of a forward pass that are fastest on each kind of device.

On a CPU the activations of a batch should stay near the caches (measured in docs/results/capture.md); a GPU
needs many rows at once.
"""


def batch_tokens_on(device: str) -> int:
    """The value of ``represent.batch_tokens: auto`` on a device; only its kind counts."""
    return ON_CPU if device == "cpu" else ON_DEVICE


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
    tokens: Int[Tensor, "B L"]
    mask: Int[Tensor, "B L"]
    positions: Int[Tensor, " N"]
    labels: Int[Tensor, " N"]


def batches(rendered: Sequence[Rendered], batch_tokens: int) -> Iterator[Batch]:
    """Padded batches of similar lengths, longest first, so that a batch that is too large fails at once.

    A batch has at most ``batch_tokens`` tokens with its padding, but at least one member.
    """
    for members in length_batches([len(r.input_ids) for r in rendered], batch_tokens):
        yield pad_batch(members, rendered)


def length_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices in batches of similar lengths, longest first."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups, start = [], 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, lengths[order[start]]))
        groups.append(order[start : start + count])
        start += count
    return groups


def pad_batch(members: list[int], rendered: Sequence[Rendered]) -> Batch:
    """Some conversations, padded on the right; the mask hides the pad id."""
    found = [rendered[i] for i in members]
    length = max(len(one.input_ids) for one in found)
    tokens = np.zeros((len(members), length), dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, one in enumerate(found):
        tokens[row, : len(one.input_ids)] = one.input_ids
        mask[row, : len(one.input_ids)] = 1
    rows = np.concatenate([one.rows for one in found], dtype=np.int64)
    assert (rows > 0).all(), "nothing predicts the first token"
    flat = np.repeat(np.arange(len(found)) * length, [len(one.rows) for one in found]) + rows
    return Batch(
        list(members),
        torch.from_numpy(tokens),
        torch.from_numpy(mask),
        torch.from_numpy(flat - 1),
        torch.from_numpy(tokens.ravel()[flat]),
    )


def require_finite(
    logprobs_N: Float[np.ndarray, " N"], members: Sequence[int], rows: Sequence[int], names: Sequence[str]
) -> None:
    """Refuse log-probabilities of the text that are not finite; the message names the conversation.

    It is the first that has one. A row of logits with NaN or +inf gives NaN or -inf here, whatever its label;
    -inf elsewhere in the row does not. Log-probabilities under `LEAST_LOGPROB` count as -inf.

    Args:
        logprobs_N: Of the rows of ``members``, in their order.
        members: Indices of a batch's conversations.
        rows: Supervised tokens of every conversation.
        names: Ids of every conversation.

    Raises:
        ModelError: One of them is NaN, infinite or probability 0.
    """
    bad_N = ~(np.isfinite(logprobs_N) & (logprobs_N >= LEAST_LOGPROB))
    if not bad_N.any():
        return
    member = np.repeat(members, [rows[i] for i in members])[int(np.argmax(bad_N))]
    found = (
        "NaN or infinite logits" if np.isnan(logprobs_N[bad_N]).any() else "probability 0 or infinite logits"
    )
    raise ModelError(
        f"The model assigns no finite probability to its text: {found} in {int(bad_N.sum())} of {len(bad_N)} tokens",
        where=f"conversation {names[int(member)]}",
        do="check its weights for NaN, or set `dtype` (of represent or evaluate) to bfloat16 or float32",
    )
