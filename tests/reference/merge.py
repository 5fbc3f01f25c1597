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


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """Mask of the k largest magnitudes; of equal ones those with the lowest index."""
    order = np.argsort(-np.abs(values.reshape(-1)), kind="stable")
    mask = np.zeros(values.size, bool)
    mask[order[:k]] = True
    return mask.reshape(values.shape)


def add(
    pivot: np.ndarray,
    delta: np.ndarray,
    weight: Sequence[float] | None = None,
    *,
    scale: float = 1.0,
    elect: bool = False,
    normalize: bool = False,
    votes: Sequence[float] | None = None,
) -> np.ndarray:
    """Add pruned changes to the pivot, all or those with the elected sign."""
    shape = (-1,) + (1,) * pivot.ndim
    w = (np.ones(len(delta)) if weight is None else np.array(weight, dtype=np.float64)).reshape(shape)
    v = w if votes is None else np.array(votes, dtype=np.float64).reshape(shape)
    agrees = np.ones(delta.shape, bool)
    if elect:
        sign = np.where((v * delta).sum(0) >= 0, 1, -1)
        agrees = np.sign(v * delta) == sign
    total = (w * delta * agrees).sum(0)
    divisor = (w * agrees).sum(0)
    return pivot.astype(np.float64) + scale * (
        total / np.where(divisor == 0, 1, divisor) if normalize else total
    )


def ties(pivot: np.ndarray, targets: np.ndarray, density: float, **settings: object) -> np.ndarray:
    """TIES: trim by a full sort, elect, average."""
    delta = changes(pivot, targets)
    kept = np.stack([d * largest(d, int(density * d.size)) for d in delta])
    return add(pivot, kept, elect=True, normalize=True, **settings)


def breadcrumbs(
    pivot: np.ndarray, targets: np.ndarray, density: float, gamma: float, elect: bool
) -> np.ndarray:
    """Breadcrumbs: drop the largest and the smallest by full sorts."""
    delta = changes(pivot, targets)
    top = int(min(gamma, 1 - density) * pivot.size)
    low = top + int(density * pivot.size)
    kept = np.stack([d * (largest(d, low) & ~largest(d, top)) for d in delta])
    return add(pivot, kept, elect=elect)


def sce(pivot: np.ndarray, targets: np.ndarray, share: float) -> np.ndarray:
    """SCE with a full sort of the variance (float32, as the engine defines it)."""
    delta = (targets - pivot).astype(np.float32)
    mean = np.zeros_like(delta[0])
    for d in delta:
        mean += d
    mean /= np.float32(len(delta))
    variance = np.zeros_like(mean)
    for d in delta:
        variance += (d - mean) * (d - mean)
    variance /= np.float32(len(delta))
    count = variance.size if share >= 1 else int(share * np.count_nonzero(variance))
    selected = delta.astype(np.float64) * largest(variance, count)
    return add(pivot, selected, varm_weights(selected), elect=True, normalize=True, votes=np.ones(len(delta)))


def row_ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each magnitude in its row; those equal in exponent and 7 bits share the mean of their ranks."""
    coarse = (np.abs(values).astype(np.float32).view(np.uint32) >> 16).astype(np.int64)
    ranks = np.empty(values.shape)
    for row, keys in enumerate(coarse):
        clipped = np.maximum(keys, keys.max() - 2047)
        for n, key in enumerate(clipped):
            ranks[row, n] = (clipped < key).sum() + ((clipped == key).sum() - 1) / 2
    return ranks


def slerp(one: np.ndarray, two: np.ndarray, t: float) -> np.ndarray:
    """Spherical interpolation of two whole tensors."""
    a, b = one.astype(np.float64).reshape(-1), two.astype(np.float64).reshape(-1)
    cosine = np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)
    if abs(cosine) > 0.9995:
        return ((1 - t) * a + t * b).reshape(one.shape)
    angle = np.arccos(cosine)
    return ((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)).reshape(one.shape)


def multislerp(vectors: np.ndarray, weight: Sequence[float]) -> np.ndarray:
    """Average in the tangent space at the mean direction, on whole vectors."""
    flat, w = vectors.astype(np.float64).reshape(len(vectors), -1), np.array(weight) / np.sum(weight)
    length = np.linalg.norm(flat, axis=1)
    unit = flat / length[:, None]
    mean = w @ unit
    mean /= np.linalg.norm(mean)
    tangent = w @ (unit - (unit @ mean)[:, None] * mean)
    angle = np.linalg.norm(tangent)
    turned = mean * np.cos(angle) + (tangent * np.sin(angle) / angle if angle > 0 else 0)
    return (turned * (w @ length)).reshape(vectors.shape[1:])


def karcher(vectors: np.ndarray, steps: int = 200) -> np.ndarray:
    """Karcher mean on the sphere by many small steps, times the mean length."""
    flat = vectors.astype(np.float64).reshape(len(vectors), -1)
    length = np.linalg.norm(flat, axis=1)
    unit = flat / length[:, None]
    mean = unit.mean(0) / np.linalg.norm(unit.mean(0))
    for _ in range(steps):
        angle = np.arccos(np.clip(unit @ mean, -1, 1))
        tangent = np.mean(
            [a / np.sin(a) * (u - np.cos(a) * mean) for a, u in zip(angle, unit, strict=True)], axis=0
        )
        mean = mean + 0.5 * tangent
        mean /= np.linalg.norm(mean)
    return (mean * length.mean()).reshape(vectors.shape[1:])


def model_stock(pivot: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Model Stock with the mean cosine of all pairs, its ratio held in [0, 1]."""
    delta = changes(pivot, targets).reshape(len(targets), -1)
    pairs = [(a, b) for i, a in enumerate(delta) for b in delta[i + 1 :]]
    cosine = max(0.0, np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))
    t = len(delta) * cosine / (1 + (len(delta) - 1) * cosine)
    return pivot.astype(np.float64) + t * delta.mean(0).reshape(pivot.shape)


def fisher(targets: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Average weighted by Fisher information; plain where there is none."""
    f = np.where(information.sum(0) > 0, information, 1.0).astype(np.float64)
    return (f * targets).sum(0) / f.sum(0)
