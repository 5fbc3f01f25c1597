# N rows, K kept tokens, V vocabulary
"""Rows for the store's benchmark: of a real capture, or invented with a real one's statistics.

The invented ones are fitted to SmolLM2-135M-Instruct (49,152 tokens, fp32) on 84 dialogues of six files of ../shared/data/chat,
10,962 rows: quartiles of the log-probabilities, and bytes a row after zstd of each column (ids 16.6 invented, 16.5 real; 8-bit
log-probabilities 6.6 and 6.5; the tail 0.94 and 0.95; the label's 3.57 and 3.58).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import RenderedPart, join, read_rendered
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.topk import Scored, TopK

ROWS_A_CONVERSATION = 130
PROMPT = 60
"""Tokens of a conversation that bear no loss."""


class Rows(NamedTuple):
    """Scored rows and the rendering that they are of.

    Attributes:
        name: Where they are from.
        vocabulary: Its size.
    """

    name: str
    vocabulary: int
    scored: Scored
    rendered: RenderedPart


def invented(rows: int, vocabulary: int, k: int = 10) -> Rows:
    """About this many rows: ids fall off as a power of their rank, gaps between log-probabilities as order statistics do."""
    rng = np.random.default_rng(0)
    rendered = join([_conversation(rng, vocabulary) for _ in range(-(-rows // ROWS_A_CONVERSATION))])
    n = rendered.supervised.rows
    ids = np.exp(np.log(vocabulary) * rng.random((n, k)) ** 0.75).astype(np.int32).clip(1, vocabulary) - 1
    sharpness = 1.7 * np.exp(0.5 * rng.standard_normal((n, 1)))
    gaps = rng.exponential(1.0, (n, k - 1)) * sharpness / np.arange(1, k)
    logits = np.concatenate([np.zeros((n, 1)), -np.cumsum(gaps, axis=1)], axis=1)
    rest = logits[:, -1] + 2.5 + 0.5 * rng.standard_normal(n)
    log_z = np.log(np.exp(logits).sum(axis=1) + np.exp(rest))
    logprobs, tail = logits - log_z[:, None], rest - log_z
    slot = rng.choice(
        k + 1, n, p=[0.58, *([0.28 / (k - 1)] * (k - 1)), 0.14]
    )  # which of the kept the label is
    own = np.where(
        slot < k, logprobs[np.arange(n), slot.clip(max=k - 1)], tail - rng.exponential(4.0, n)
    ).astype(np.float32)
    topk = TopK(ids, logprobs.astype(np.float16), tail.astype(np.float16), np.ones(n, bool))
    return Rows(
        f"invented, vocabulary {vocabulary:,}", vocabulary, Scored(rendered.supervised, topk, own), rendered
    )


def _conversation(rng: np.random.Generator, vocabulary: int) -> Rendered:
    """One turn of tokens of one to nine bytes after a prompt."""
    size = int(rng.integers(ROWS_A_CONVERSATION // 2, 3 * ROWS_A_CONVERSATION // 2 + 1))
    ids = rng.integers(0, vocabulary, PROMPT + size).astype(np.int32)
    ends = np.cumsum(rng.integers(1, 10, size)).astype(np.int32)
    begins = np.append(np.int32(0), ends[:-1])
    return Rendered(
        ids, np.arange(PROMPT, PROMPT + size, dtype=np.int32), np.ones(size, np.int32), begins, ends
    )


def captured(folder: Path) -> Rows:
    """A finished capture, RUN/represent/MODEL, with the tokens that the run's corpus has for the model."""
    tokens = folder.parents[1] / "corpus" / "corpus" / "tokens" / folder.name / "train.safetensors"
    rendered, store = read_rendered(tokens), DistributionStore(folder)
    return Rows(str(folder), store.encoding.vocabulary, store.scored(rendered, 0, len(store)), rendered[:])
