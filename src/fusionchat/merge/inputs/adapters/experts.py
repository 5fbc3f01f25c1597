"""Adapted parameters (peft's ``target_parameters``): experts in one tensor, or stored one by one.

transformers has the experts of a layer in one parameter, and peft adapts it as a whole: A is [experts * r,
in] with the experts one after the other, B [out, r * experts] with the experts innermost. Checkpoints have
that parameter, or a matrix for each expert.
"""

# E experts, R rank, I inputs, O outputs

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from fusionchat.merge.inputs.adapters.names import Names
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.stored import Stored

_PARTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("down_proj",), ("w2",)),
}
"""The matrices of each expert that transformers puts into one parameter, in that order."""


class Place(NamedTuple):
    """A stored tensor that a pair of factors changes.

    Attributes:
        name: Its name in the pivot.
        experts: Number of experts that the factors are for.
        expert: Which expert the tensor belongs to; None if it has all of them.
        outputs: First and past-the-last row of B for the tensor.
        transposed: Whether it is stored as [in, out].
    """

    name: str
    experts: int
    expert: int | None
    outputs: tuple[int, int]
    transposed: bool


def parameters_of(path: str, targets: tuple[str, ...], names: Names, pivot: Checkpoint) -> list[str]:
    """The names of the pivot's parameters that an adapter targets in a module.

    A target is the end of a parameter's name: ``experts.down_proj``, or just ``down_proj``.
    """
    found = set()
    for target in targets:
        module, _, leaf = target.rpartition(".")
        if module and path != module and not path.endswith(f".{module}"):
            continue
        if names.find(f"{path}.{leaf}") or _experts(path, leaf, pivot):
            found.add(leaf)
    return sorted(found)


def places(
    path: str, leaf: str, factors: Mapping[str, Stored], names: Names, pivot: Checkpoint
) -> list[Place]:
    """The stored tensors that the factors of a parameter change; empty if they do not fit."""
    found = names.find(f"{path}.{leaf}")
    up, down = factors["B"].shape, factors["A"].shape
    if len(up) != 2 or len(down) != 2:
        return []
    sides = (up[0], down[1])
    if found is None:
        return list(_split(path, leaf, sides, pivot))
    shape = pivot.tensors[found].shape
    experts = shape[0] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or up[1] != down[0] or down[0] % experts:
        return []
    fits = [turned for turned in (False, True) if (sides[::-1] if turned else sides) == shape[-2:]]
    if len(fits) == 2:  # square: peft uses the module's class, and treats matrices as [out, in]
        fits = _turned(found, names) if len(shape) == 3 else [False]
    return [Place(found, experts, None, (0, up[0]), turned) for turned in fits]


def _turned(found: str, names: Names) -> list[bool]:
    """Whether a parameter is [experts, in, out], as its class in transformers says; both if unknown."""
    structure = names.known()
    if structure is None:
        return [False, True]
    return [structure.canonical(found).rpartition(".")[0] in structure.transposed]


def _split(path: str, leaf: str, sides: tuple[int, int], pivot: Checkpoint) -> Iterator[Place]:
    """One place for each expert's matrix, if the pivot stores them one by one."""
    held = _experts(path, leaf, pivot)
    parts = next((parts for parts in _PARTS.get(leaf, ()) if held and held[0][2] in parts), ())
    experts, height = 1 + max((expert for _, expert, _ in held), default=-1), sides[0] // max(1, len(parts))
    if len(held) != experts * len(parts) or any(
        pivot.tensors[name].shape != (height, sides[1]) for name, _, _ in held
    ):
        return
    for name, expert, part in held:
        begin = parts.index(part) * height
        yield Place(name, experts, expert, (begin, begin + height), False)


def _experts(path: str, leaf: str, pivot: Checkpoint) -> list[tuple[str, int, str]]:
    """The pivot's matrices of a layer's experts that make up a parameter: name, expert, part."""
    number = re.search(r"(?:^|\.)(\d+)\.", path)
    words = "|".join(part for parts in _PARTS.get(leaf, ()) for part in parts)
    if number is None or not words or not path.endswith("experts"):
        return []
    layer = re.compile(rf"(?:.*\.)?{number[1]}\..*\bexperts\.(\d+)\.({words})\.weight")
    found = ((name, layer.fullmatch(name)) for name in pivot.tensors)
    return [(name, int(match[1]), match[2]) for name, match in found if match]


def matrices(down: np.ndarray, up: np.ndarray, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """B, [E, O, R], and A, [E, R, I], of a place's experts."""
    rank = down.shape[0] // place.experts
    down_ERI = down.reshape(place.experts, rank, down.shape[1])
    up_EOR = up.reshape(up.shape[0], rank, place.experts).transpose(2, 0, 1)[:, slice(*place.outputs)]
    chosen = slice(None) if place.expert is None else slice(place.expert, place.expert + 1)
    return up_EOR[chosen], down_ERI[chosen]
