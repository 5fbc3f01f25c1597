# P passes of a step
"""The sums of a step over its passes, and over all processes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from fusionchat.distill.loss import LossSums
from fusionchat.distill.parallel import place

KEPT = ("loss", "label", "divergence", "right", "agrees", "soft")
"""The fields of `LossSums` that are summed; the number of rows follows them."""


class StepSums(NamedTuple):
    """Sums over the rows of a step, in nats, and its rows.

    Attributes:
        loss, label, divergence, right, agrees, soft: See `LossSums`.
        rows: Rows that count in the loss.
    """

    loss: float
    label: float
    divergence: float
    right: float
    agrees: float
    soft: float
    rows: float

    def means(self) -> dict[str, float | None]:
        """The means for a line of `METRICS`; None for the distributions' ones where no distribution counted."""
        rows, soft = max(self.rows, 1.0), self.soft
        return {
            "loss": self.loss / rows,
            "label_loss": self.label / rows,
            "distribution_loss": self.divergence / soft if soft else None,
            "label_accuracy": self.right / rows,
            "agreement": self.agrees / soft if soft else None,
        }


def of_pass(sums: LossSums) -> Float[Tensor, "7"]:
    """The sums of a pass, left on its device, so that nothing waits for them."""
    found = [getattr(sums, name).detach() for name in KEPT]
    return torch.stack([*found, torch.full_like(found[0], sums.rows)])


class Shared(NamedTuple):
    """What all processes know after a step.

    Attributes:
        sums: The sums over the passes of all processes.
        more: Further sums over all processes.
        most: The largest of the processes' ``own`` numbers.
    """

    sums: StepSums
    more: list[float]
    most: float


def share(passes: Float[Tensor, "P 7"], more: Sequence[float], own: float) -> Shared:
    """Sums over all processes, in one exchange.

    Args:
        passes: This process's sums, by pass.
        more: Other numbers that are added up.
        own: A number of this process, of which the largest over all is returned.
    """
    wide = torch.float64 if passes.device.type != "mps" else torch.float32
    rank, world = place()
    slots = torch.zeros(len(KEPT) + 1 + len(more) + world, dtype=wide)
    slots[len(KEPT) + 1 :] = torch.tensor([*more, *(own if r == rank else 0.0 for r in range(world))])
    slots = slots.to(passes.device)
    slots[: len(KEPT) + 1] = passes.to(wide).sum(0)
    if world > 1:
        dist.all_reduce(slots)
    found = slots.tolist()
    cut = len(KEPT) + 1
    return Shared(StepSums(*found[:cut]), found[cut : cut + len(more)], max(found[cut + len(more) :]))


def everyones(own: list[str]) -> list[str]:
    """The texts of all processes, in the order of their ranks."""
    found: list[list[str]] = [[] for _ in range(place()[1])]
    if len(found) == 1:
        return own
    dist.all_gather_object(found, own)
    return [word for words in found for word in words]
