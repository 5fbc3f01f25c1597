"""Checks of methods' settings, and settings with one value, or one per target."""

# J targets

import numpy as np
from jaxtyping import Float64

from fusionchat.merge.methods.base import Method
from fusionchat.units import counted

Share = float | tuple[float, ...]
"""One value, or one per target."""


def per_target(name: str, value: Share, targets: int) -> Float64[np.ndarray, " J"]:
    """One value of a setting per target; raises ValueError if the number of values does not match."""
    if not isinstance(value, tuple):
        return np.full(targets, value, dtype=np.float64)
    if len(value) != targets:
        raise ValueError(f"`{name}` has {counted(len(value), 'value')} for {counted(targets, 'target')}")
    return np.array(value, dtype=np.float64)


def weights_for(weight: tuple[float, ...] | None, targets: int) -> Float64[np.ndarray, " J"]:
    """One weight per target, 1 by default; raises ValueError if the number of weights does not match."""
    return per_target("weight", 1.0 if weight is None else weight, targets)


def check_targets(method: Method, targets: int) -> None:
    """Raise ValueError if a method, or its values or folders, does not fit the number of targets."""
    least, most = method.targets
    if targets < least or (most is not None and targets > most):
        wants = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(
            f"Method {method.method} needs {wants} {'target' if wants == '1' else 'targets'}, not {targets}"
        )
    for setting in ("weight", "density", "gamma", "epsilon"):
        value = getattr(method, setting, None)
        if isinstance(value, tuple) and len(value) != targets:
            raise ValueError(
                f"Method {method.method} has {counted(len(value), 'value')} of `{setting}` for {counted(targets, 'target')}"
            )
    folders = len(method.auxiliary())
    if folders != targets and (folders or method.needs_auxiliary):
        raise ValueError(
            f"Method {method.method} needs {counted(targets, 'folder')}, one per target, not {folders}"
        )


def check_weights(weight: tuple[float, ...] | None, *, positive_sum: bool = False) -> None:
    """Raise ValueError if weights are not finite, or do not add up to more than 0 although they must."""
    if weight is None:
        return
    if not weight or not all(np.isfinite(weight)):
        raise ValueError("`weight` must be finite numbers, one per target")
    if positive_sum and not sum(weight) > 0:
        raise ValueError("`weight` must add up to more than 0 to be normalized")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError if a setting is outside ``low .. high`` (or is not a number)."""
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be between {low:g} and {high:g}, not {value:g}")
