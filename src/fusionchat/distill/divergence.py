"""When a training's loss has grown so much that it is stopped. PURE."""

from collections import deque
from statistics import median

WINDOW = 10
"""Steps whose median is looked at: one odd step says nothing."""
TIMES, MORE = 2.0, 1.0
"""It has diverged above this many times what it was in the first steps, and this many nats."""


class Divergence:
    """Looks at the labels' loss of each step, in nats a token, whatever lambda is."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.last: deque[float] = deque(maxlen=WINDOW)

    @property
    def limit(self) -> float | None:
        """Above this median the training has diverged; None until the first steps are made."""
        return TIMES * median(self.first) + MORE if len(self.first) == WINDOW else None

    def has(self, label_loss: float) -> bool:
        """Whether the training has diverged with this step."""
        limit = self.limit
        if limit is None:
            self.first.append(label_loss)
            return False
        self.last.append(label_loss)
        return len(self.last) == WINDOW and median(self.last) > limit
