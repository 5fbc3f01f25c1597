"""Training a tiny chat LLM from scratch: whole conversations, AdamW, warm-up and linear decay."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from fusionchat.demo.corpus import Record

# B conversations of a batch, L tokens, N supervised tokens, H hidden size, V vocabulary
CHUNK = 64
"""Batches drawn, sorted by length and shuffled at a time."""


@dataclass(frozen=True)
class Schedule:
    """The schedule of a model's training.

    Attributes:
        conversations: Number of conversations, each seen once.
        batch: Conversations per step.
        learning_rate: The peak, reached after a twentieth of the steps, then falling linearly to zero.
        weight_decay: Weight decay of matrices.
    """

    conversations: int
    batch: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.05

    @property
    def steps(self) -> int:
        """The number of optimizer steps."""
        return max(1, self.conversations // self.batch)

    def rate(self, step: int) -> float:
        """The learning rate of a step, as a share of the peak."""
        warm = max(1, self.steps // 20)
        return min((step + 1) / warm, (self.steps - step) / max(1, self.steps - warm))


class Row(NamedTuple):
    """One conversation in a model's tokens.

    ``supervised`` says for each token whether it is the assistant's.
    """

    ids: list[int]
    supervised: list[bool]


def encode(tokenizer: PreTrainedTokenizerFast, records: list[Record], context: int) -> list[Row]:
    """Each conversation in the model's own chat template; ones that are too long are left out."""
    texts = [str(tokenizer.apply_chat_template(record.chat(), tokenize=False)) for record in records]
    made = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    rows = []
    for record, text, ids, offsets in zip(
        records, texts, made["input_ids"], made["offset_mapping"], strict=True
    ):
        spans = _assistant_spans(record, text, len(str(tokenizer.eos_token)))
        rows.append(Row(ids, [any(e > a and b < z for a, z in spans) for b, e in offsets]))
    return [row for row in rows if len(row.ids) <= context]


def _assistant_spans(record: Record, text: str, end: int) -> list[tuple[int, int]]:
    """The character spans of the assistant's messages in the rendered text, each with its end of turn.

    The end of turn has ``end`` characters.

    A space before the message belongs to the span too, since generation prompts end without it.
    """
    spans, at = [], 0
    for user, assistant in record.messages:
        start = text.index(assistant, text.index(user, at) + len(user))
        at = start + len(assistant)
        spans.append((start - (text[start - 1] == " "), at + end))
    return spans


class Batch(NamedTuple):
    """Ids [B, L], padded on the right, and which of them are supervised."""

    ids_BL: Tensor
    supervised_BL: Tensor


def batches(rows: Callable[[int], list[Row]], schedule: Schedule, seed: int) -> Iterator[Batch]:
    """One batch for each step, of conversations of similar length."""
    rng = random.Random(seed)
    made = 0
    while made < schedule.steps:
        chunk = sorted(rows(CHUNK * schedule.batch), key=lambda row: len(row.ids))
        groups = [chunk[i : i + schedule.batch] for i in range(0, len(chunk), schedule.batch)]
        rng.shuffle(groups)
        for group in islice(groups, schedule.steps - made):
            yield _pad(group)
            made += 1


def _pad(group: list[Row]) -> Batch:
    length = max(len(row.ids) for row in group)
    ids_BL = torch.zeros(len(group), length, dtype=torch.long)
    supervised_BL = torch.zeros(len(group), length, dtype=torch.bool)
    for index, row in enumerate(group):
        ids_BL[index, : len(row.ids)] = torch.tensor(row.ids)
        supervised_BL[index, : len(row.ids)] = torch.tensor(row.supervised)
    return Batch(ids_BL, supervised_BL)


def supervised_loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean negative log-likelihood of the supervised tokens, in nats a token.

    Padding is on the right and needs no mask, because attention is causal and padding is not supervised. Only
    supervised rows N reach the head.
    """
    hidden_BLH = model.base_model(input_ids=batch.ids_BL, use_cache=False).last_hidden_state
    chosen_BL = batch.supervised_BL[:, 1:]
    logits_NV = model.get_output_embeddings()(hidden_BLH[:, :-1][chosen_BL])  # type: ignore[no-untyped-call]
    return cross_entropy(logits_NV, batch.ids_BL[:, 1:][chosen_BL])


def train(
    model: PreTrainedModel,
    data: Iterator[Batch],
    schedule: Schedule,
    advance: Callable[[int], None],
) -> float:
    """Train a model in place; returns the mean loss of the last tenth of the steps in nats a token."""
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
    for batch in data:
        loss = supervised_loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        advance(len(batch.ids_BL))
    model.eval()  # type: ignore[no-untyped-call]
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)
