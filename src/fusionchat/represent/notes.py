# N supervised rows, M sampled rows, V vocabulary, H hidden size
"""What a capture records besides distributions: the entropy of some rows, and batch sizes.

Entropy and the number of tokens with 99 % of the mass cannot be computed from K kept tokens, so they are
measured on `SAMPLE` rows while their logits are in memory.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fusionchat.models.head import Head
from fusionchat.represent.bits import NATS_PER_BIT

SAMPLE, SEED = 1000, 0
MASS = 0.99
AT_ONCE = 16
"""Rows whose full logits are in memory at once: 16 MB at 262,144 tokens."""


@dataclass
class Notes:
    """The notes of one shard.

    Attributes:
        rows: int64 [M], ascending: the shard's rows whose softmax is to be measured.
        entropy: Bits of each of them, by row; empty for a backend without logits.
        needed: The least number of tokens with `MASS` of each, by row.
        batch_tokens: Most padded tokens of a forward pass; 0 for a backend without one.
        halved: How often that was halved for lack of memory.
    """

    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    entropy: dict[int, float] = field(default_factory=dict)
    needed: dict[int, int] = field(default_factory=dict)
    batch_tokens: int = 0
    halved: int = 0

    def begin(self, rows: NDArray[np.int64]) -> None:
        """Start a shard, whose rows ``rows`` are measured."""
        self.__init__(rows)  # type: ignore[misc]

    def measure(self, head: Head, hidden_NH: Float[Tensor, "N H"], rows_N: NDArray[np.int64]) -> None:
        """Measure the rows among ``rows_N`` that are in the sample."""
        chosen = np.flatnonzero(np.isin(rows_N, self.rows))
        for first in range(0, len(chosen), AT_ONCE):
            some = chosen[first : first + AT_ONCE]
            logits = whole(head, hidden_NH[torch.from_numpy(some).to(hidden_NH.device)])
            for row, (bits, needed) in zip(rows_N[some].tolist(), spread(logits), strict=True):
                self.entropy[row], self.needed[row] = bits, needed


def sample(total: int) -> NDArray[np.int64]:
    """Which of ``total`` rows are measured: `SAMPLE` of them, drawn with a fixed seed, ascending."""
    drawn = np.random.default_rng(SEED).choice(total, min(SAMPLE, total), replace=False)
    return np.sort(drawn).astype(np.int64)


def whole(head: Head, hidden_MH: Float[Tensor, "M H"]) -> Float[Tensor, "M V"]:
    """All logits of some rows, fp32."""
    logits = hidden_MH.new_empty((len(hidden_MH), head.weight.shape[0]), dtype=torch.float32)
    for row, token, part in head.tiles(hidden_MH):
        logits[row : row + part.shape[0], token : token + part.shape[1]] = part
    return logits


def spread(logits_MV: Float[Tensor, "M V"]) -> list[tuple[float, int]]:
    """The entropy of each row in bits, and the least number of tokens with `MASS` of it.

    The entropy is -sum of p log2 p.
    """
    logp_MV = logits_MV.double().log_softmax(1).sort(dim=1, descending=True).values
    p_MV = logp_MV.exp()
    bits = -(p_MV * logp_MV.clamp(min=torch.finfo(torch.float64).min)).sum(1) / NATS_PER_BIT
    needed = (p_MV.cumsum(1) < MASS).sum(1) + 1
    return list(zip(bits.tolist(), needed.clamp(max=logits_MV.shape[1]).tolist(), strict=True))
