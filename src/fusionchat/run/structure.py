"""A model's tensors from its configuration, and the share of them that one token goes through.

This is used where the weights are not on this machine.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path

from fusionchat.artifacts import stamp_of
from fusionchat.models.ready import quiet

CONFIG = "config.json"
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""The keys of a configuration for the number of experts of a layer."""
USED = "num_experts_per_tok"
Tensors = Mapping[str, tuple[int, ...]]
"""Shapes of tensors by name."""


def configuration(folder: Path | None) -> Mapping[str, object]:
    """A folder's ``config.json``; empty if it cannot be read."""
    path = None if folder is None else folder / CONFIG
    if path is None or not path.is_file():
        return {}
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the run says what is wrong with it
        return {}
    return held if isinstance(held, dict) else {}


def structure(folder: Path) -> Tensors | None:
    """The parameters of the model that transformers builds from a folder's configuration; None if none."""
    path = folder / CONFIG
    return _structure(folder, *stamp_of(path)) if path.is_file() else None


@lru_cache(maxsize=16)
def _structure(folder: Path, size: int, time: int) -> Tensors | None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet()
    try:
        config = AutoConfig.from_pretrained(str(folder))
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        model.tie_weights()
    except Exception:  # the run says what is wrong with it
        return None
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def count(tensors: Tensors) -> int:
    """The number of elements of all tensors."""
    return sum(map(prod, tensors.values()))


def used_share(tensors: Tensors, config: Mapping[str, object]) -> float:
    """The share of the parameters that one token goes through.

    A layer with experts uses some of them for each token.
    """
    inside = config.get("text_config")
    own = inside if isinstance(inside, dict) else config
    experts, used = next((own[key] for key in EXPERTS if key in own), None), own.get(USED)
    if not isinstance(experts, int) or not isinstance(used, int) or not 0 < used <= experts:
        return 1.0
    theirs = sum(prod(shape) for name, shape in tensors.items() if ".experts." in f".{name}.")
    return 1.0 - (1.0 - used / experts) * theirs / max(count(tensors), 1)
