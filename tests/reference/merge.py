"""Slow, obvious merges in float64, on whole tensors: what the engine is compared with."""

# J targets; every function takes the pivot, the stacked targets [J, ...] and returns the fused tensor in float64.

from collections.abc import Sequence

import numpy as np


def changes(pivot: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What each target changed; exact in float64 for bf16, fp16 and nearby fp32 values."""
    return targets.astype(np.float64) - pivot.astype(np.float64)


def varm_weights(delta: np.ndarray, power: float = 1.0) -> np.ndarray:
    """The variation ratio, one weight a target."""
    mean = np.array([np.mean(d**2) for d in delta])
    raised = np.array([(m / mean.max()) ** power if m > 0 else 0.0 for m in mean])
    return raised / raised.sum() if raised.sum() > 0 else raised


def varm(pivot: np.ndarray, targets: np.ndarray, power: float = 1.0) -> np.ndarray:
    """VaRM for one matrix."""
    delta = changes(pivot, targets)
    return pivot.astype(np.float64) + np.tensordot(varm_weights(delta, power), delta, 1)


def varm_elements(pivot: np.ndarray, targets: np.ndarray, power: float = 1.0) -> np.ndarray:
    """VaRM with one set of weights an element."""
    delta = changes(pivot, targets)
    raised = np.where(delta != 0, (delta**2 / np.maximum((delta**2).max(0), 1e-300)) ** power, 0.0)
    total = raised.sum(0)
    return pivot.astype(np.float64) + np.where(
        total > 0, (raised * delta).sum(0) / np.where(total > 0, total, 1), 0
    )


def linear(
    pivot: np.ndarray, targets: np.ndarray, weight: Sequence[float] | None = None, normalize: bool = True
) -> np.ndarray:
    """The weighted average, or sum, of the targets."""
    w = np.ones(len(targets)) if weight is None else np.array(weight, dtype=np.float64)
    total = sum(w[j] * target.astype(np.float64) for j, target in enumerate(targets))
    return total / w.sum() if normalize else total


def task_arithmetic(
    pivot: np.ndarray, targets: np.ndarray, weight: Sequence[float] | None = None, scale: float = 1.0
) -> np.ndarray:
    """The pivot plus the weighted sum of the changes."""
    w = np.ones(len(targets)) if weight is None else np.array(weight, dtype=np.float64)
    return pivot.astype(np.float64) + scale * sum(
        w[j] * delta for j, delta in enumerate(changes(pivot, targets))
    )


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Round float64 once to bfloat16 (to nearest, ties to even), as float64: by comparing with both neighbours."""
    truncated = (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).astype(np.int64)
    candidates = np.stack([truncated - 0x10000, truncated, truncated + 0x10000])
    candidates = np.where((candidates & 0x7FFFFFFF) < 0x7F800000, candidates, truncated)
    decoded = candidates.astype(np.uint32).view(np.float32).astype(np.float64)
    distance = np.abs(decoded - values)
    odd = (candidates >> 16) & 1
    best = np.lexsort((odd, distance), axis=0)[0]
    return np.take_along_axis(decoded, best[None], 0)[0]
