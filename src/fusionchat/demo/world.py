"""The made-up world of the demo's text: its facts, and its tastes.

A taste is how often which word follows which context.

It is a Zipf law over a slot's words whose ranking depends on the context: "what adjective goes with the sea"
has a different favourite from "what adjective goes with winter". Learning all of them needs much text, which
the sources get but the fusion corpus lacks, so a source's distributions contain more than the labels.
"""

import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, TypeVar

T = TypeVar("T")

ZIPF = 1.4
"""Exponent of the tastes: the word of rank r has weight r ** -ZIPF."""


class Turn(NamedTuple):
    """One user message and the reply to it.

    ``answer`` is the answer in the reply's last line; None if nothing can be checked.
    """

    user: str
    assistant: str
    answer: str | None = None


class World:
    """Facts and tastes, the same for everything made with one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._tastes: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}
        self._facts: dict[tuple[str, ...], int] = {}

    def pick(self, rng: random.Random, slot: str, options: Sequence[T], *context: str) -> T:
        """One of ``options``, drawn by the taste for this slot in this context."""
        key = (slot, *context)
        if key not in self._tastes:
            order = list(range(len(options)))
            random.Random(f"taste/{self.seed}/{'/'.join(key)}").shuffle(order)
            self._tastes[key] = (order, list(accumulate((r + 1) ** -ZIPF for r in range(len(options)))))
        order, cumulated = self._tastes[key]
        return options[order[bisect(cumulated, rng.random() * cumulated[-1], hi=len(order) - 1)]]

    def fact(self, slot: str, options: Sequence[T], *context: str) -> T:
        """The one of ``options`` that is true in this context: the same whenever it is asked."""
        key = (slot, *context)
        if key not in self._facts:
            self._facts[key] = random.Random(f"fact/{self.seed}/{'/'.join(key)}").randrange(len(options))
        return options[self._facts[key]]


def checked(reply: str, answer: str) -> str:
    """A reply with its checkable answer as the last line."""
    return f"{reply}\nAnswer: {answer}"
