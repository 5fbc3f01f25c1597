# M models, N rows of a conversation
"""Which model each distribution that a student learns comes from, as written by the fusion."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from fusionchat.represent.store.read import DistributionStore

WEIGHTS = "weights"
"""A fusion's column: the weight of each model in each row, the pivot first; a row's weights sum to 1."""


class Origins:
    """The weight of each model in the rows of some conversations.

    Args:
        store: The store of a fusion.
        names: Its models, the pivot first.
    """

    def __init__(self, store: DistributionStore, names: Sequence[str]) -> None:
        self.store, self.names = store, tuple(names)

    def of(self, conversations: Iterable[int]) -> Float[np.ndarray, " M"]:
        """Number of rows of each model, fractional where a rule mixes models."""
        total = np.zeros(len(self.names))
        for one in conversations:
            weights: Float[np.ndarray, "N M"] = self.store.column(WEIGHTS, one, one + 1)
            total += weights.sum(0, dtype=np.float64)
        return total
