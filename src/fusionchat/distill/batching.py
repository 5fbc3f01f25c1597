"""The order of a training: the conversations of each step, cut into micro-batches. PURE.

The whole plan is made before the training (docs/decisions/0002-training-plan.md). The conversations of a step
depend on the seed alone; micro-batches and ranks only cut it differently, and every loss is divided by the
supervised tokens of its whole step.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

PASS, PASS_AMX, PASS_CPU, PASS_GPU = 24.0, 150.0, 2.5e8, 1e12
"""The fixed cost of a pass; see `pass_positions`."""


class MicroBatch(NamedTuple):
    """Conversations that go through the model together.

    Attributes:
        members: Their indices, longest first; never empty.
        step_rows: Supervised tokens of the whole step, the divisor of its loss.
        counts: Whether their rows count in the loss; False is filler for a rank with fewer conversations than
            others have passes.
    """

    members: list[int]
    step_rows: int
    counts: bool


def plan_steps(
    rows: Sequence[int],
    lengths: Sequence[int],
    *,
    epochs: float,
    batch_size: int,
    micro_tokens: int,
    pass_cost: float = PASS,
    ranks: int = 1,
    seed: int,
) -> list[list[MicroBatch]]:
    """The micro-batches of a whole training; part ``step * ranks + rank`` is for one rank and step.

    All ranks do the same number of passes in a step, because a pass may gather weights from all of them.

    Args:
        rows: Supervised tokens of each conversation.
        lengths: Tokens of each conversation.
        epochs: May be a fraction; every full epoch sees every conversation once.
        batch_size: Conversations a step (the last step may have fewer).
        micro_tokens: Positions of a micro-batch, padding included; a longer conversation is one by itself.
        pass_cost: The fixed cost of a pass, in positions.
        ranks: Processes that share a step.
        seed: Determines the order of the conversations.
    """
    count = len(rows)
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(count) for _ in range(int(np.ceil(epochs)))])
    order = order[: max(1, round(epochs * count))]
    plan: list[list[MicroBatch]] = []
    for start in range(0, len(order), batch_size):
        step = sorted((int(i) for i in order[start : start + batch_size]), key=lambda i: (-lengths[i], i))
        step_rows = max(sum(rows[i] for i in step), 1)
        cuts = [cut(part, lengths, micro_tokens, pass_cost) for part in deal(step, lengths, ranks)]
        passes = max(len(parts) for parts in cuts)
        for parts in cuts:
            split(parts, passes)
            made = [MicroBatch(members, step_rows, True) for members in parts]
            filler = MicroBatch(step[-1:], step_rows, False)
            plan.append(made + [filler] * (passes - len(made)))
    return plan


def pass_positions(parameters: int, *, gpu: bool, amx: bool = False) -> float:
    """The fixed cost of a pass of a model, in positions.

    Every pass reads and writes weights and gradients, which takes the time of about 24 positions for any
    model; of some 150 with bf16 by AMX, on the one such machine that was measured, whose memory is slow beside
    its products. Starting the operations takes some 15 ms on a CPU (a position 6 * parameters operations at 1e11 a
    second), 30 ms on a GPU (2e14).
    """
    return (PASS_AMX if amx else PASS) + (PASS_GPU if gpu else PASS_CPU) / max(parameters, 1)


def deal(step: Sequence[int], lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """A step's conversations by rank, longest first: each goes to the rank with the fewest tokens so far."""
    parts: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for i in step:
        least = loads.index(min(loads))
        parts[least].append(i)
        loads[least] += lengths[i]
    return parts


def cut(
    members: Sequence[int], lengths: Sequence[int], micro_tokens: int, pass_cost: float
) -> list[list[int]]:
    """Conversations (longest first) in micro-batches of neighbours, cut at the least total cost.

    cost = padded positions + passes * pass_cost. The best cut of the first j conversations follows from the
    best cuts of fewer (dynamic programming).
    """
    n = len(members)
    least, start = [0.0] + [np.inf] * n, [0] * (n + 1)
    for j in range(1, n + 1):
        for i in range(j - 1, -1, -1):
            positions = (j - i) * lengths[members[i]]
            if positions > micro_tokens and j - i > 1:
                break
            cost = least[i] + positions + pass_cost
            if cost < least[j]:
                least[j], start[j] = cost, i
    ends = [n]
    while ends[-1] > 0:
        ends.append(start[ends[-1]])
    ends.reverse()
    return [list(members[a:b]) for a, b in pairwise(ends)]


def split(parts: list[list[int]], passes: int) -> None:
    """Halve the largest micro-batch, in place, until there are ``passes`` of them or each has one member."""
    while len(parts) < passes:
        most = max(range(len(parts)), key=lambda i: len(parts[i]), default=0)
        if not parts or len(parts[most]) < 2:
            return
        half = len(parts[most]) // 2
        parts[most : most + 1] = [parts[most][:half], parts[most][half:]]


def real_share(plan: Sequence[Sequence[MicroBatch]], lengths: Sequence[int]) -> float:
    """The share of a plan's positions that are tokens of conversations that count.

    The others are padding or filler.
    """
    real = sum(lengths[i] for part in plan for micro in part if micro.counts for i in micro.members)
    padded = sum(
        len(micro.members) * max(lengths[i] for i in micro.members) for part in plan for micro in part
    )
    return real / padded
