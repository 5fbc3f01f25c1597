"""Weights of the targets: the variation ratio, and the grouping of parameters by their names."""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

Scope = Literal["model", "layer", "module", "matrix"]


def variation_ratio(
    mean_square_J: Float64[np.ndarray, "J ..."], power: float
) -> Float64[np.ndarray, "J ..."]:
    """Each target's share of the change: ``m_j^power / sum_i m_i^power``, 0 where m_j is 0.

    The sum is over the first axis. Section 3.3 of arXiv 2402.16107v6, with a power. It is scale-free down to
    the smallest number: the largest value is divided out first, so neither tiny nor huge values overflow or
    underflow. If all are zero, all shares are zero, which means the pivot.
    """
    largest = mean_square_J.max(axis=0, keepdims=True)
    ratio_J = np.divide(mean_square_J, largest, out=np.zeros_like(mean_square_J), where=largest > 0)
    raised_J = np.where(mean_square_J > 0, ratio_J**power, 0.0)
    total = raised_J.sum(axis=0, keepdims=True)
    return np.divide(raised_J, total, out=np.zeros_like(raised_J), where=total > 0)


def most_moved(noise_J: Sequence[float], square_J: Sequence[float]) -> float:
    """The most by which noise in the changes can have moved a share of VaRM (power 1).

    Of mean squares m_j = t_j + n_j with independent noise n_j, the share t_j/T became (t_j + n_j)/M with M =
    T + N. They differ by (n_j (1 - t_j/T) - (N - n_j) t_j/T) / M, at most max(n_j, N - n_j) / M.

    Args:
        noise_J: Mean square of each target's noise, n_j.
        square_J: Mean square of each target's change, noise included, m_j.
    """
    noise, change = sum(noise_J), sum(square_J)
    return max(max(one, noise - one) for one in noise_J) / change if change > 0 else 0.0


def layer_of(name: str) -> int | None:
    """Number of the layer of a parameter: the first whole number among the parts of its name."""
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def group_of(name: str, scope: Scope) -> str:
    """The group that a parameter shares its weights with.

    ``layer`` is everything up to the first number in the name, ``module`` one part more. Parameters outside
    the layers (embedding, final norm, head) are a group each, with weight and bias together.

    >>> group_of("model.layers.3.self_attn.q_proj.weight", "module")
    'model.layers.3.self_attn'
    """
    if scope == "model":
        return ""
    if scope == "matrix":
        return name
    found = re.match(r"(?:.*?\.)?\d+(?=\.)", name)
    if found is None:
        return name.rpartition(".")[0] or name
    layer = found.group()
    return layer if scope == "layer" else ".".join([layer, name[len(layer) + 1 :].partition(".")[0]])


def module_of(name: str) -> str:
    """A parameter's place inside its layer (``self_attn.q_proj``), or its own name outside the layers."""
    found = re.match(r"(?:.*?\.)?\d+\.", name)
    inside = name[found.end() :] if found else name
    return inside.removesuffix(".weight")
