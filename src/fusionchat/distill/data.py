# B conversations of a micro-batch, L padded length, N supervised rows, K kept tokens
"""The tensors of each step of a plan, micro-batch by micro-batch."""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol, TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from fusionchat.corpus.render import Rendered
from fusionchat.distill.batching import MicroBatch
from fusionchat.represent.batching import pad_batch
from fusionchat.represent.topk import TopK, widen


class StudentBatch(TypedDict):
    """Tensors of one micro-batch.

    ``input_ids`` and ``attention_mask`` int64 [B, L]; ``positions`` int64 [N] flat index of the state that
    predicts each row; ``labels`` int64 [N]; ``ids`` int64 [N, K], ``logprobs`` and ``tail`` float32 [N, K] and
    [N], ``present`` and ``own`` bool [N]: see `SoftTargets`; ``step_rows`` int64 scalar.
    """

    input_ids: Int[Tensor, "B L"]
    attention_mask: Int[Tensor, "B L"]
    positions: Tensor
    labels: Tensor
    ids: Tensor
    logprobs: Tensor
    tail: Tensor
    present: Tensor
    own: Tensor
    step_rows: Tensor


class Distributions(Protocol):
    """What a student learns, by conversation: a `DistributionStore` or a list."""

    def __getitem__(self, conversation: int, /) -> TopK:
        """The distributions of a conversation, one for each supervised token."""
        ...


class StudentData(Dataset[list[StudentBatch]]):
    """Part i of a plan, the micro-batches of one rank and step, as tensors.

    ``soft`` is None for training on the labels alone. The text of the ``own`` conversations is the student's:
    their rows without a distribution are omitted.
    """

    def __init__(
        self,
        rendered: Sequence[Rendered],
        soft: Distributions | None,
        plan: Sequence[Sequence[MicroBatch]],
        own: Collection[int] = frozenset(),
    ) -> None:
        self.rendered, self.soft, self.plan, self.own = rendered, soft, plan, own

    def __len__(self) -> int:
        """The number of parts of the whole training."""
        return len(self.plan)

    def __getitem__(self, index: int) -> list[StudentBatch]:
        """The micro-batches of part ``index``."""
        return [self.batch(micro) for micro in self.plan[index]]

    def batch(self, micro: MicroBatch) -> StudentBatch:
        """The tensors of one micro-batch."""
        batch = pad_batch(micro.members, self.rendered)
        n = len(batch.labels)
        found = [] if self.soft is None else [self.soft[i] for i in micro.members]
        soft = in_a_row(found, n)
        own = np.zeros(n, np.bool_)
        if self.own:
            own = np.repeat([i in self.own for i in micro.members], [one.rows for one in found])
        keep = kept_rows(soft, own) if micro.counts else slice(0, 0)
        return StudentBatch(
            input_ids=batch.tokens,
            attention_mask=batch.mask,
            positions=batch.positions[keep],
            labels=batch.labels[keep],
            ids=torch.from_numpy(soft.ids)[keep],
            logprobs=torch.from_numpy(soft.logprobs)[keep],
            tail=torch.from_numpy(soft.tail)[keep],
            present=torch.from_numpy(soft.present)[keep],
            own=torch.from_numpy(own)[keep],
            step_rows=torch.tensor(micro.step_rows),
        )


class _Soft(NamedTuple):
    """Distributions as the loss takes them: int64, float32, float32, bool."""

    ids: Int[np.ndarray, "N K"]
    logprobs: Float[np.ndarray, "N K"]
    tail: Float[np.ndarray, " N"]
    present: Bool[np.ndarray, " N"]


def kept_rows(soft: _Soft, own: Bool[np.ndarray, " N"]) -> Tensor | slice:
    """The rows that are trained on: all except rows of the student's own text without a distribution."""
    kept = ~own | (soft.present & np.isfinite(soft.logprobs).any(axis=1))
    return slice(None) if kept.all() else torch.from_numpy(np.flatnonzero(kept))


def in_a_row(parts: Sequence[TopK], rows: int) -> _Soft:
    """The distributions of some conversations one after the other; ``rows`` empty ones for no parts."""
    if not parts:
        return _Soft(
            np.zeros((rows, 1), np.int64),
            np.full((rows, 1), -np.inf, np.float32),
            np.full(rows, -np.inf, np.float32),
            np.zeros(rows, np.bool_),
        )
    k = max(part.k for part in parts)
    wide = [widen(part, k) for part in parts]
    soft = _Soft(
        np.concatenate([part.ids for part in wide], dtype=np.int64),
        np.concatenate([part.logprobs for part in wide], dtype=np.float32),
        np.concatenate([part.tail for part in wide], dtype=np.float32),
        np.concatenate([part.present for part in wide]),
    )
    assert len(soft.tail) == rows, "one distribution a supervised token"
    return soft
