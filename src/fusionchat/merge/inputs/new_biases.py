"""Biases of an adapter (``lora_bias``) that the pivot's layers lack, added to the fused model where it has a place.

A structure has biases by a switch of its config (``attention_bias``, ``mlp_bias``). Switches are tried, one and then several,
until transformers builds a model with a place for each new bias; the biases that a switch brings besides are 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float32

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.structure import Shape, structure_with
from fusionchat.merge.inputs.textmodel import as_known, text_of, with_text

_MOST_SWITCHES = 4


@dataclass(frozen=True)
class Zeros:
    """A tensor of zeros.

    Attributes:
        shape: Its shape.
        origin: What lacks it, for messages.
    """

    shape: tuple[int, ...]
    origin: str

    is_float = True

    def decode(self, begin: int, out_B: Float32[np.ndarray, " B"]) -> None:
        """Write the elements from ``begin`` on as float32."""
        assert begin + out_B.size <= math.prod(self.shape)
        out_B[:] = 0

    def read_ahead(self, begin: int) -> None:
        """Nothing: nothing is read."""

    def release(self) -> None:
        """Nothing."""


def add_biases(
    inputs: list[dict[str, Source]],
    biases: list[Mapping[str, Source]],
    config: Mapping[str, Json],
    where: str,
) -> dict[str, Json]:
    """Put new biases into each input's tensors, 0 where an input has none, and return the config that has them.

    Args:
        inputs: The tensors of the pivot and of the targets, by name; changed in place.
        biases: The new biases of each of them.
        config: The fused model's config without them.
        where: The pivot's folder.

    Raises:
        MergeError: No switch of the config gives the structure these biases.
    """
    wanted = {name: source.shape for held in biases for name, source in held.items()}
    if not wanted:
        return dict(config)
    shapes = {name: source.shape for name, source in inputs[0].items()}
    found = _switched(config, shapes, wanted)
    if found is None:
        raise MergeError(
            f"lora_bias is set, but {sorted(wanted)[0]} is not in the pivot, and no setting of its config adds it",
            where=where,
            do="train the adapter without lora_bias: this structure has no place for the bias",
        )
    made, new = found
    for tensors, held in zip(inputs, biases, strict=True):
        tensors |= {name: held.get(name) or Zeros(shape, where) for name, shape in new.items()}
    return made


def _switched(
    config: Mapping[str, Json], shapes: Mapping[str, Shape], wanted: Mapping[str, Shape]
) -> tuple[dict[str, Json], dict[str, Shape]] | None:
    """A config with a place for all that is wanted, and all tensors that it has besides the stored ones."""
    complete = text_of(as_known(config) or config)
    switches = [key for key, value in complete.items() if value is False and "bias" in key][:_MOST_SWITCHES]
    for count in range(1, len(switches) + 1):
        for chosen in combinations(switches, count):
            made = with_text(config, dict.fromkeys(chosen, True))
            structure = structure_with(made, {**shapes, **wanted})
            new = {} if structure is None else {n: s for n, s in structure.saved.items() if n not in shapes}
            if wanted.items() <= new.items() and all(name.endswith(".bias") for name in new):
                return made, new
    return None
