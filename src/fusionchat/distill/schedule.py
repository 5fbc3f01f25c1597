"""How lambda changes over a training. PURE."""


def label_weight_at(step: int, steps: int, *, first: float, last: float | None) -> float:
    """lambda of a step, counted from 0, on a straight line from ``first`` to ``last``.

    Without ``last`` it stays at ``first``.
    """
    if last is None or steps < 2:
        return first
    return first + (last - first) * step / (steps - 1)
