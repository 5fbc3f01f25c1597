"""Training a tiny chat LLM from nothing: batches of whole conversations, AdamW, warm-up and linear decay."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from fusionchat.demo.corpus import Record

# B conversations of a batch, L tokens
CHUNK = 64
"""Batches drawn, sorted by length and shuffled at a time."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained.

    Attributes:
        conversations: Conversations seen, each once.
        batch: Conversations a step.
        learning_rate: Peak, reached after a twentieth of the steps, then falling in a line to zero.
        weight_decay: On matrices.
    """

    conversations: int
    batch: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.1

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return max(1, self.conversations // self.batch)

    def rate(self, step: int) -> float:
        """The learning rate of a step, as a share of the peak."""
        warm = max(1, self.steps // 20)
        return min((step + 1) / warm, (self.steps - step) / max(1, self.steps - warm))


def encode(tokenizer: PreTrainedTokenizerFast, records: list[Record], context: int) -> list[list[int]]:
    """Token ids of each conversation in the model's own chat template; over-long ones are left out."""
    texts = [str(tokenizer.apply_chat_template(record.chat(), tokenize=False)) for record in records]
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [row for row in rows if len(row) <= context]


def batches(
    rows: Callable[[int], list[list[int]]], schedule: Schedule, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Padded ids and labels [B, L], chunk by chunk, of similar length inside a batch."""
    rng = random.Random(seed)
    made = 0
    while made < schedule.steps:
        chunk = sorted(rows(CHUNK * schedule.batch), key=len)
        groups = [chunk[i : i + schedule.batch] for i in range(0, len(chunk), schedule.batch)]
        rng.shuffle(groups)
        for group in islice(groups, schedule.steps - made):
            yield _pad(group)
            made += 1


def _pad(group: list[list[int]]) -> tuple[Tensor, Tensor]:
    length = max(map(len, group))
    ids_BL = torch.zeros(len(group), length, dtype=torch.long)
    labels_BL = torch.full((len(group), length), -100)
    for index, row in enumerate(group):
        ids_BL[index, : len(row)] = labels_BL[index, : len(row)] = torch.tensor(row)
    return ids_BL, labels_BL


def train(
    model: PreTrainedModel,
    data: Iterator[tuple[Tensor, Tensor]],
    schedule: Schedule,
    advance: Callable[[int], None],
) -> float:
    """Train in place; returns the mean loss of the last tenth of the steps in nats a token.

    Padding is on the right and needs no mask: attention is causal and padded labels are ignored.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": schedule.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.95), fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.rate)
    losses = []
    model.train()
    for ids_BL, labels_BL in data:
        loss = model(input_ids=ids_BL, labels=labels_BL, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        advance(len(ids_BL))
    model.eval()  # type: ignore[no-untyped-call]
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)
