"""The order of a training: which conversations make a step, and how a step is cut into micro-batches. PURE.

The plan is made before training, for all of it, and depends on the seed alone (docs/decisions/0002-training-plan.md):
micro-batches and devices only cut a step differently, and every loss is divided by the supervised tokens of its whole
step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class MicroBatch(NamedTuple):
    """Conversations that go through the model together.

    Attributes:
        members: Their indices; never empty.
        step_rows: Supervised tokens of the whole step, the divisor of its loss.
        counts: Whether their rows bear loss; False fills a step that has fewer conversations than passes.
    """

    members: list[int]
    step_rows: int
    counts: bool


def plan_steps(
    rows: Sequence[int], lengths: Sequence[int], *, epochs: float, batch_size: int, passes: int, seed: int
) -> list[MicroBatch]:
    """The micro-batches of a whole training, ``passes`` a step.

    Args:
        rows: Supervised tokens of each conversation.
        lengths: Tokens of each conversation.
        epochs: May be a fraction; every full epoch sees every conversation once.
        batch_size: Conversations a step (the last step may have fewer).
        passes: Micro-batches a step over all devices.
        seed: Order of the conversations.
    """
    count = len(rows)
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(count) for _ in range(int(np.ceil(epochs)))])
    order = order[: max(1, round(epochs * count))]
    plan: list[MicroBatch] = []
    for start in range(0, len(order), batch_size):
        step = sorted((int(i) for i in order[start : start + batch_size]), key=lambda i: (lengths[i], i))
        step_rows = sum(rows[i] for i in step)
        for part in np.array_split(np.array(step), passes):
            members = part.tolist()
            plan.append(MicroBatch(members or step[:1], max(step_rows, 1), bool(members)))
    return plan
