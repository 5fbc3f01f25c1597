# B conversations of a micro-batch, L padded length, N supervised rows, K kept tokens
"""The tensors of each micro-batch of a plan."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset

from fusionchat.corpus.render import Rendered
from fusionchat.distill.plan import MicroBatch
from fusionchat.errors import ArtifactError
from fusionchat.represent.batching import pad_batch
from fusionchat.represent.topk import TopK


class StudentBatch(TypedDict):
    """Tensors of one micro-batch.

    ``input_ids`` and ``attention_mask`` int64 [B, L]; ``positions`` int64 [N] flat index of the state that
    predicts each row; ``labels`` int64 [N]; ``ids`` int64 [N, K], ``logprobs`` and ``tail`` float32 [N, K] and
    [N], ``present`` bool [N]: see `SoftTargets`; ``step_rows`` int64 scalar.
    """

    input_ids: Int[Tensor, "B L"]
    attention_mask: Int[Tensor, "B L"]
    positions: Tensor
    labels: Tensor
    ids: Tensor
    logprobs: Tensor
    tail: Tensor
    present: Tensor
    step_rows: Tensor


class StudentData(Dataset[StudentBatch]):
    """Micro-batch i of a plan as tensors; ``soft`` is None for training on the labels alone.

    Raises:
        ArtifactError: ``soft`` has other rows than the conversations.
    """

    def __init__(self, rendered: Sequence[Rendered], soft: TopK | None, plan: Sequence[MicroBatch]) -> None:
        rows = [len(one.rows) for one in rendered]
        if soft is not None and not np.array_equal(np.diff(soft.offsets), rows):
            raise ArtifactError(
                "The fused distributions are not of these conversations: the pivot's tokens have changed since",
                where="another version of transformers or tokenizers, perhaps",
                do="remove the run's represent, align and fuse folders and run again",
            )
        self.rendered, self.soft, self.plan = rendered, soft, plan

    def __len__(self) -> int:
        """Micro-batches of the whole training."""
        return len(self.plan)

    def __getitem__(self, index: int) -> StudentBatch:
        """The tensors of micro-batch ``index``."""
        micro = self.plan[index]
        batch = pad_batch(micro.members, self.rendered)
        n = len(batch.labels)
        if self.soft is None:
            ids, logprobs = np.zeros((n, 1), np.int64), np.full((n, 1), -np.inf, np.float32)
            tail, present = np.full(n, -np.inf, np.float32), np.zeros(n, dtype=bool)
        else:
            offsets = self.soft.offsets
            take = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in micro.members])
            ids, logprobs = self.soft.ids[take].astype(np.int64), self.soft.logprobs[take].astype(np.float32)
            tail, present = self.soft.tail[take].astype(np.float32), self.soft.present[take]
        keep = slice(None) if micro.counts else slice(0, 0)
        return StudentBatch(
            input_ids=batch.tokens,
            attention_mask=batch.mask,
            positions=batch.positions[keep],
            labels=batch.labels[keep],
            ids=torch.from_numpy(ids)[keep],
            logprobs=torch.from_numpy(logprobs)[keep],
            tail=torch.from_numpy(tail)[keep],
            present=torch.from_numpy(present)[keep],
            step_rows=torch.tensor(micro.step_rows),
        )
