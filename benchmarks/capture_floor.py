# N supervised rows, H hidden size, V vocabulary
"""The floor of a capture on a CPU: the same tokens by plain transformers and PyTorch, with no code of this package.

It is the sum of three parts, each timed alone, in processor time:

- the body: ``model.model(input_ids)`` on right-padded batches sorted by length, of the same token budget as a
  capture's, without a mask (a causal body needs none for padding on the right, and is faster without);
- the head's product: ``rows @ weight.T`` of the supervised rows, in the model's dtype, in the best of several chunks.
  In bfloat16 the logits are rounded to bfloat16, which a capture may not do: the floor is lower for it;
- one pass over float32 logits: ``amax`` and ``exp().sum()``, in the best of several chunks.

A capture keeps more than that of every row: the k most likely tokens, exactly, and the tail.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

CHUNKS = (64, 256, 1024)
"""Rows of a product: more of them need hundreds of MB of new pages, which costs more than they save."""
PASSES = (1, 8, 32)
"""Rows of a pass over the logits."""


class Floor(NamedTuple):
    """Processor seconds of a whole text.

    Attributes:
        body: Of the body.
        product: Of the head's product.
        one_pass: Of the pass over the logits.
    """

    body: float
    product: float
    one_pass: float


@torch.inference_mode()
def floor(
    model: LlamaForCausalLM, conversations: Sequence[Sequence[int]], rows: int, budget: int, rounds: int
) -> Floor:
    """The floor of a text with this many supervised rows, in batches of ``budget`` padded tokens."""
    batches = padded(conversations, budget)
    weight = model.lm_head.weight
    body = least(lambda: [model.model(input_ids=b, use_cache=False) for b in batches], rounds)
    hidden = torch.randn(min(rows, max(CHUNKS)), weight.shape[1]).to(weight.dtype)
    product = min(least(lambda n=n: in_chunks(hidden, weight, n), rounds) for n in CHUNKS) / len(hidden)
    passes = [torch.randn(n, weight.shape[0]) for n in PASSES]
    one_pass = min(least(lambda x=x: (x.amax(1), x.exp().sum(1)), 3 * rounds) / len(x) for x in passes)
    return Floor(body, product * rows, one_pass * rows)


def padded(conversations: Sequence[Sequence[int]], budget: int) -> list[Tensor]:
    """Token ids in batches of neighbouring lengths, longest first, padded with 0 on the right."""
    left, batches = sorted(conversations, key=len, reverse=True), []
    while left:
        count = max(1, budget // len(left[0]))
        rows = [torch.as_tensor(one) for one in left[:count]]
        batches.append(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).long())
        left = left[count:]
    return batches


def in_chunks(hidden_NH: Tensor, weight_VH: Tensor, count: int) -> None:
    """The head's product, some rows at a time."""
    for first in range(0, len(hidden_NH), count):
        hidden_NH[first : first + count] @ weight_VH.T


def least(work: Callable[[], object], rounds: int) -> float:
    """Processor seconds of some work, the least of the rounds."""
    found = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)
