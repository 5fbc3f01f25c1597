"""Bits per byte of held-out conversations during a training, by the same kind of passes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule

from fusionchat.corpus.render import Rendered
from fusionchat.distill.batching import plan_steps
from fusionchat.distill.data import StudentBatch, StudentData
from fusionchat.distill.parallel import place
from fusionchat.distill.student import Student

TOGETHER = 64
"""Conversations whose passes are cut together."""


class HeldOut(NamedTuple):
    """Conversations that are not trained on.

    Attributes:
        rendered: As the student sees them.
        bytes: UTF-8 bytes that their supervised tokens score.
    """

    rendered: Sequence[Rendered]
    bytes: int


def passes(held: HeldOut, micro_tokens: int, pass_cost: float) -> Iterator[StudentBatch]:
    """This process's passes over the held-out conversations.

    Every process has the same number, because each pass may gather weights from all.
    """
    rank, world = place()
    plan = plan_steps(
        [len(one.rows) for one in held.rendered],
        [len(one.input_ids) for one in held.rendered],
        epochs=1,
        batch_size=TOGETHER,
        micro_tokens=micro_tokens,
        pass_cost=pass_cost,
        ranks=world,
        seed=0,
    )
    data = StudentData(held.rendered, None, plan)
    for part in range(rank, len(plan), world):
        yield from data[part]


@contextmanager
def measuring(student: Student) -> Iterator[None]:
    """Set the student up for passes without a gradient, on the labels alone; afterwards it is as before.

    This holds for a student that is sharded, too.
    """
    weight, focus, mode = student.label_weight, student.focus, student.training
    student.label_weight, student.focus = 1.0, 0.0
    student.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        student.label_weight, student.focus = weight, focus
        student.train(mode)
        for module in student.modules():  # what the forward gathered belongs to these weights
            if isinstance(module, FSDPModule):
                module.reshard()


def bits_per_byte(student: nn.Module, batches: Iterator[StudentBatch], total_bytes: int) -> float:
    """sum CE / ln 2 / bytes over the passes of all processes; inside `measuring`."""
    total: torch.Tensor | None = None
    for batch in batches:
        own = student(batch).label
        total = own if total is None else total + own
    assert total is not None, "there are conversations"
    if place()[1] > 1:
        dist.all_reduce(total)
    return float(total) / math.log(2) / total_bytes
