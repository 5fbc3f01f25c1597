"""The ranks of a training on a Ray cluster: one actor each, in a placement group.

The group gets room for all of them, or none.
"""

import time
from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, cast

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from fusionchat.run.engine.ray.asks import Ask
from fusionchat.run.engine.ray.remote import Errand, Outcome, Rank

if TYPE_CHECKING:
    from fusionchat.run.engine.ray.remote import Meeting

POLL = 0.5
GRACE = 10.0
"""Seconds that the other ranks have to report an error when one has failed.

Most of them wait for the failed one in an exchange.
"""


class StoppedRanksError(Exception):
    """The engine does not need the ranks any more."""


def make_in_ranks(errand: Errand, ask: Ask, stopped: Event) -> Outcome:
    """Make a job in ranks; returns the outcome of rank 0, or the error that a rank reported first.

    Args:
        errand: The job.
        ask: What a rank needs, and the number of ranks.
        stopped: Set once nobody waits for it any more.

    Raises:
        RayError: A rank has died.
        StoppedRanksError: It was stopped.
    """
    group = placement_group([ask.resources] * ask.processes, strategy="PACK")
    ranks = list[Any]()
    try:
        while not group.wait(POLL):
            if stopped.is_set():
                raise StoppedRanksError
        ranks = [_start(group, ask, index) for index in range(ask.processes)]
        places = cast("list[Meeting]", ray.get([rank.where.remote() for rank in ranks]))
        return first_outcome(
            [
                rank.do.remote(errand, world_of(index, ask.processes, places[0].address, places[0].port))
                for index, rank in enumerate(ranks)
            ],
            stopped,
        )
    finally:
        for rank in ranks:
            ray.kill(rank)
        remove_placement_group(group)


def _start(group: PlacementGroup, ask: Ask, index: int) -> Any:
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
    options: dict[str, Any] = {**ask.options, "scheduling_strategy": strategy}
    return ray.remote(Rank).options(**options).remote()


def world_of(rank: int, size: int, address: str, port: int) -> dict[str, str]:
    """The environment of a rank, as torchrun sets it.

    Every rank has its own GPUs and its share of the job's threads.
    """
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


def first_outcome(said: "Sequence[ray.ObjectRef[Outcome]]", stopped: Event) -> Outcome:
    """The outcome of rank 0 when all are done, or the first error."""
    open_refs, until = list(said), float("inf")
    error: Outcome | None = None
    while open_refs and time.monotonic() < until:
        done, open_refs = ray.wait(open_refs, timeout=POLL)
        if stopped.is_set():
            raise StoppedRanksError
        for ref in done:
            outcome = ray.get(ref)
            if "error" in outcome and error is None:
                error, until = outcome, time.monotonic() + GRACE
    return ray.get(said[0]) if error is None else error
