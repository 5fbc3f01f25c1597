"""Every merge method in a few lines of float64 on a whole tensor: a function that takes settings, pivot, targets, information.

`REFERENCES` has them by the methods' names. tests/merge/methods/test_properties.py compares each method with its own.
"""

# J targets; the result has the pivot's shape

from collections.abc import Callable
from hashlib import blake2b

import numpy as np

from tests.reference import merge

Fuse = Callable[..., np.ndarray]


def weights(method, targets):
    return np.ones(len(targets)) if method.weight is None else np.array(method.weight)


def varm(method, pivot, targets, _):
    whole = merge.varm_elements if method.granularity == "element" else merge.varm
    return whole(pivot, targets, method.power)


def linear(method, pivot, targets, _):
    return merge.linear(pivot, targets, weights(method, targets), method.normalize)


def task_arithmetic(method, pivot, targets, _):
    w = weights(method, targets)
    return merge.task_arithmetic(pivot, targets, w / w.sum() if method.normalize else w, method.scale)


def added(method, pivot, kept, elect):
    """The pivot plus what pruning has left of the changes."""
    w = weights(method, kept)
    if elect:
        return merge.add(pivot, kept, w, scale=method.scale, elect=True, normalize=method.normalize)
    return merge.add(pivot, kept, w / w.sum() if method.normalize else w, scale=method.scale)


def ties(method, pivot, targets, _):
    kept = [d * merge.largest(d, int(method.density * d.size)) for d in merge.changes(pivot, targets)]
    return added(method, pivot, np.stack(kept), True)


def breadcrumbs(method, pivot, targets, _):
    top = int(min(method.gamma, 1 - method.density) * pivot.size)
    low = top + int(method.density * pivot.size)
    kept = [d * (merge.largest(d, low) & ~merge.largest(d, top)) for d in merge.changes(pivot, targets)]
    return added(method, pivot, np.stack(kept), method.elect_sign)


def uniform(seed, target, shape):
    """A number in 0 .. 1 for every element of tensor ``w``: SplitMix64 makes two keys, lowbias32 mixes them with the index."""
    key = int.from_bytes(blake2b(f"{seed}/{target}/w".encode(), digest_size=8).digest(), "little")
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    key = (key ^ key >> 27) * 0x94D049BB133111EB % 2**64
    key ^= key >> 31
    hashes = []
    for index in range(np.prod(shape)):
        h = (index * 0x9E3779B1 + key) % 2**32
        h = (h ^ h >> 16) * 0x7FEB352D % 2**32
        h = (h ^ h >> 15) * 0x846CA68B % 2**32
        hashes.append(h ^ h >> 16 ^ key >> 32)
    return np.array(hashes, np.float64).reshape(shape) / 2**32


def dare(method, pivot, targets, elect):
    delta = merge.changes(pivot, targets)
    kept = [d * (uniform(method.seed, j, d.shape) < method.density) for j, d in enumerate(delta)]
    return added(method, pivot, np.stack(kept) / (method.density if method.rescale else 1), elect)


def della(method, pivot, targets, _):
    kept = []
    for j, d in enumerate(merge.changes(pivot, targets)):
        share = merge.row_ranks(d) / (d.shape[1] - 1)
        chance = method.density + method.epsilon * (2 * share - 1) if method.density < 1 else np.ones(d.shape)
        kept.append(d / chance * (uniform(method.seed, j, d.shape) < chance))
    return added(method, pivot, np.stack(kept), method.elect_sign)


def sce(method, pivot, targets, _):
    return merge.sce(pivot, targets, method.select_topk if len(targets) > 1 else 1.0)


def on_the_sphere(average):
    """A reference on a sphere about the pivot or about zero; one vector is its own average."""

    def fuse(method, pivot, targets, _):
        center = pivot if method.origin == "pivot" else np.zeros(pivot.shape)
        vectors = merge.changes(center, targets)
        return center + (vectors[0] if len(vectors) == 1 else average(method, vectors))

    return fuse


def length(vector):
    return np.sqrt((vector**2).sum())


def unit(vector):
    return vector / length(vector) if vector.any() else np.zeros(vector.shape)


def between(one, two, t, parallel):
    """Shoemake's slerp, no longer than the longer vector; linear between vectors that are (almost) parallel or opposite."""
    cosine = np.clip((unit(one) * unit(two)).sum(), -1, 1)
    if cosine > parallel or cosine < -min(parallel, 1 - 1e-6) or not (one.any() and two.any()):
        return (1 - t) * one + t * two
    angle = np.arccos(cosine)
    found = (np.sin((1 - t) * angle) * one + np.sin(t * angle) * two) / np.sin(angle)
    return found * min(1, max(length(one), length(two)) / length(found))


def slerp(method, pivot, targets, _):
    one, two = np.concatenate([pivot[None], targets])[-2:].astype(np.float64)
    return between(one, two, method.t, 0.9995)


def nuslerp(method, vectors):
    first, second = weights(method, vectors)
    return between(*vectors, second / (first + second), 1 - 1e-12)


def multislerp(method, vectors):
    w = weights(method, vectors)
    w = w / w.sum() if method.normalize_weights else w
    units = [unit(vector) for vector in vectors]
    mean = np.tensordot(w, units, 1)
    if length(mean) < 1e-3 * np.abs(w).sum():
        return np.tensordot(w, vectors, 1)
    mean = unit(mean)
    tangent = sum(w_j * (u - (u * mean).sum() * mean) for w_j, u in zip(w, units, strict=True))
    turned = mean * np.cos(length(tangent)) + tangent * np.sinc(length(tangent) / np.pi)
    return turned * sum(w_j * length(vector) for w_j, vector in zip(w, vectors, strict=True))


def karcher(method, vectors):
    units = [unit(vector) for vector in vectors if vector.any()]
    mean = sum(units, start=np.zeros(vectors.shape[1:])) / max(len(units), 1)
    if length(mean) < 1e-3:
        return vectors.mean(0)
    mean = unit(mean)
    for _ in range(method.max_iter):
        angles = [np.arccos(np.clip((u * mean).sum(), -1, 1)) for u in units]
        pulled = [(u - np.cos(a) * mean) / np.sinc(a / np.pi) for a, u in zip(angles, units, strict=True)]
        tangent = sum(pulled) / len(units)
        if length(tangent) < method.tol:
            break
        mean = unit(np.cos(length(tangent)) * mean + np.sinc(length(tangent) / np.pi) * tangent)
    return mean * np.mean([length(vector) for vector in vectors])


def model_stock(_, pivot, targets, __):
    delta = merge.changes(pivot, targets)
    pairs = [(unit(a) * unit(b)).sum() for i, a in enumerate(delta) for b in delta[i + 1 :]]
    cosine = max(0.0, np.mean(pairs))
    return pivot + len(delta) * cosine / (1 + (len(delta) - 1) * cosine) * delta.mean(0)


def fisher(method, _, targets, information):
    f = weights(method, targets)[:, None, None] * information
    f = np.where(f.sum(0) > 0, f, weights(method, targets)[:, None, None])
    return (f * targets).sum(0) / f.sum(0)


def nearswap(method, pivot, targets, _):
    change = targets[0] - pivot
    return pivot + np.sign(change) * np.minimum(np.abs(change), method.t)


def passthrough(method, pivot, *_):
    return method.scale * pivot


REFERENCES: dict[str, Fuse] = {
    "breadcrumbs": breadcrumbs,
    "dare_linear": lambda method, pivot, targets, _: dare(method, pivot, targets, False),
    "dare_ties": lambda method, pivot, targets, _: dare(method, pivot, targets, True),
    "della": della,
    "fisher": fisher,
    "karcher": on_the_sphere(karcher),
    "linear": linear,
    "model_stock": model_stock,
    "multislerp": on_the_sphere(multislerp),
    "nearswap": nearswap,
    "nuslerp": on_the_sphere(nuslerp),
    "passthrough": passthrough,
    "sce": sce,
    "slerp": slerp,
    "task_arithmetic": task_arithmetic,
    "ties": ties,
    "varm": varm,
}

IN_ORDER = {
    "dare_linear": "a target's mask depends on its number",
    "dare_ties": "the same",
    "della": "the same",
    "slerp": "t counts from the first to the second",
}
"""Methods whose result depends on the order of the targets, and why."""

ABSOLUTE = {"nearswap": "t is the size of a change"}
"""Methods whose weights depend on the size of the changes, and why."""
