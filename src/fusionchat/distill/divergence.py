"""When a training is stopped because its loss has grown too much. PURE."""

from collections import deque
from statistics import median

WINDOW = 10
"""Steps whose median counts, since a single odd step means nothing."""
TIMES, MORE = 2.0, 1.0
"""A loss has diverged above this multiple of the first steps' loss, and this many nats more than it."""


class Divergence:
    """Watches the labels' loss of each step, in nats a token, whatever lambda is."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.last: deque[float] = deque(maxlen=WINDOW)

    @property
    def limit(self) -> float | None:
        """The median above which the training has diverged; None until the first steps are done."""
        return TIMES * median(self.first) + MORE if len(self.first) == WINDOW else None

    def has(self, label_loss: float) -> bool:
        """Whether the training has diverged with this step."""
        limit = self.limit
        if limit is None:
            self.first.append(label_loss)
            return False
        self.last.append(label_loss)
        return len(self.last) == WINDOW and median(self.last) > limit
