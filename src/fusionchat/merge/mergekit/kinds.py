"""mergekit's merge methods and settings by its names, and how each is expressed in ours."""

from collections.abc import Mapping
from typing import NamedTuple

Setting = bool | float


class Kind(NamedTuple):
    """How one of mergekit's methods is expressed in ours.

    Attributes:
        method: Our method's name.
        each: Settings of models, mergekit's name to ours.
        shared: Settings of the whole merge, mergekit's name to ours.
        fixed: Settings of ours that mergekit's name implies.
        defaults: mergekit's defaults, by mergekit's name.
        ignored: Settings that may only have the given value, because that is what ours does.
        base: Whether a base model is required (True), optional (None), or one of the two models (False).
    """

    method: str
    each: Mapping[str, str] = {}
    shared: Mapping[str, str] = {}
    fixed: Mapping[str, Setting] = {}
    defaults: Mapping[str, Setting] = {}
    ignored: Mapping[str, tuple[Setting, ...]] = {}
    base: bool | None = True


_ANY_MASK: Mapping[str, tuple[Setting, ...]] = {"int8_mask": (True, False)}
_TASK = {"lambda": "scale", "normalize": "normalize"}
_PRUNED = {"weight": "weight", "density": "density"}
_PLAIN: Mapping[str, tuple[Setting, ...]] = {**_ANY_MASK, "rescale": (False,)}
_SCALED: Mapping[str, tuple[Setting, ...]] = {**_ANY_MASK, "rescale": (True,)}
_ALL_KEPT = {"density": 1.0}
KINDS = {
    "linear": Kind("linear", {"weight": "weight"}, {"normalize": "normalize"}, base=None),
    "task_arithmetic": Kind("task_arithmetic", {"weight": "weight"}, _TASK, ignored=_PLAIN),
    "ties": Kind("ties", _PRUNED, _TASK, defaults=_ALL_KEPT, ignored=_PLAIN),
    "dare_linear": Kind("dare_linear", _PRUNED, {**_TASK, "rescale": "rescale"}, defaults=_ALL_KEPT, ignored=_ANY_MASK),
    "dare_ties": Kind("dare_ties", _PRUNED, {**_TASK, "rescale": "rescale"}, defaults=_ALL_KEPT, ignored=_ANY_MASK),
    "della": Kind(
        "della", {**_PRUNED, "epsilon": "epsilon"}, _TASK, {"elect_sign": True},
        {**_ALL_KEPT, "epsilon": 0.15, "normalize": True}, _SCALED,
    ),
    "della_linear": Kind(
        "della", {**_PRUNED, "epsilon": "epsilon"}, _TASK, {"elect_sign": False},
        {**_ALL_KEPT, "epsilon": 0.15, "normalize": False}, _SCALED,
    ),
    "breadcrumbs": Kind(
        "breadcrumbs", {**_PRUNED, "gamma": "gamma"}, _TASK, {"elect_sign": False}, {**_ALL_KEPT, "gamma": 0.01}, _PLAIN
    ),
    "breadcrumbs_ties": Kind(
        "breadcrumbs", {**_PRUNED, "gamma": "gamma"}, _TASK, {"elect_sign": True}, {**_ALL_KEPT, "gamma": 0.01}, _PLAIN
    ),
    "sce": Kind("sce", shared={"select_topk": "select_topk"}, defaults={"select_topk": 1.0}, ignored=_ANY_MASK),
    "model_stock": Kind("model_stock", ignored={"filter_wise": (False,)}),
    "nearswap": Kind("nearswap", shared={"t": "t"}, base=False),
    "slerp": Kind("slerp", shared={"t": "t"}, base=False),
    "nuslerp": Kind(
        "nuslerp", {"weight": "weight"}, base=None, ignored={"nuslerp_flatten": (True,), "nuslerp_row_wise": (False,)}
    ),
    "multislerp": Kind("multislerp", {"weight": "weight"}, {"normalize_weights": "normalize_weights"}, base=None),
    "karcher": Kind("karcher", shared={"max_iter": "max_iter", "tol": "tol"}, base=None),
    "passthrough": Kind("passthrough", shared={"scale": "scale"}, base=None),
}  # fmt: skip
"""mergekit's methods by its names."""
WHOLE = Kind("linear", {"scale": "weight"}, fixed={"normalize": False}, defaults={"scale": 1.0}, base=None)
"""mergekit's passthrough of one whole model."""
