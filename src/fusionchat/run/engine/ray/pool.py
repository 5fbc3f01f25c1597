"""The hands of a Ray engine: actors that stay and make one job after another.

Each has one shape of resources.
"""

from collections.abc import Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any

import ray
from ray.exceptions import RayError

from fusionchat.run.engine.ray import remote
from fusionchat.run.engine.ray.asks import Ask


class Hand:
    """An actor that makes jobs.

    Attributes:
        ask: The resources that it has.
        actor: Its handle.
        ready: Whether it can get a job; until then Ray looks for room.
        busy: Whether it has a job.
        lost: Whether it died before it was ready.
    """

    def __init__(self, ask: Ask) -> None:
        self.ask, self.ready, self.busy, self.lost = ask, False, False, False
        self.actor: Any = ray.remote(remote.Hand).options(**ask.options, max_restarts=0).remote()  # type: ignore[call-overload]


class Pool:
    """Hands of all shapes.

    Args:
        events: Where a hand is put when it is ready, or has died before.
    """

    def __init__(self, events: "SimpleQueue[Any]") -> None:
        self.events, self.hands = events, list[Hand]()

    @property
    def starting(self) -> list[Hand]:
        """The hands that are not ready yet."""
        return [hand for hand in self.hands if not hand.ready]

    def idle(self, ask: Ask) -> Hand | None:
        """A hand of a shape that is ready and has no job, if there is one."""
        return next((hand for hand in self.hands if hand.ready and not hand.busy and hand.ask == ask), None)

    def start(self, wanted: Sequence[Ask]) -> None:
        """Start hands until there is one starting for each job that waits for its shape."""
        starting = [hand.ask for hand in self.starting]
        for ask in wanted:
            if ask in starting:
                starting.remove(ask)
                continue
            hand = Hand(ask)
            self.hands.append(hand)
            Thread(target=self._await, args=(hand,), daemon=True).start()

    def _await(self, hand: Hand) -> None:
        try:
            ray.get(hand.actor.ready.remote())
        except RayError:
            hand.lost = True
        self.events.put(hand)

    def hear(self, hand: Hand) -> None:
        """Note that a hand is ready, or has died before it was."""
        hand.ready = not hand.lost
        if hand.lost:
            self.forget(hand)

    def let_go(self) -> None:
        """End the hands without a job, because others need the room."""
        for hand in [one for one in self.hands if one.ready and not one.busy]:
            self.end(hand)

    def end(self, hand: Hand) -> None:
        """End a hand, whatever it is doing."""
        self.forget(hand)
        ray.kill(hand.actor)

    def forget(self, hand: Hand) -> None:
        """Remove a hand that has died."""
        if hand in self.hands:
            self.hands.remove(hand)

    def close(self) -> None:
        """End all hands."""
        for hand in list(self.hands):
            self.end(hand)
