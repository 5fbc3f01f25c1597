"""Biases of an adapter (``lora_bias``) that the pivot's layers lack.

They are added to the fused model if its config has a switch for them.

A switch of the config turns on a structure's biases (``attention_bias``, ``mlp_bias``). Switches are tried,
one and then several, until transformers builds a model with a place for each new bias; other biases that a
switch adds are 0.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.models import Family, OpenModel
from fusionchat.merge.inputs.structure import Shape, structure_with
from fusionchat.merge.inputs.textmodel import as_known, text_of, with_text
from fusionchat.merge.inputs.zeros import Zeros

_MOST_SWITCHES = 4


def add_biases(family: Family) -> Family:
    """The models with the biases that adapters add, and the config that has them.

    A bias is 0 if a model has none.

    Raises:
        MergeError: No switch of the config gives the structure these biases.
    """
    wanted = {name: source.shape for one in family.targets for name, source in one.biases.items()}
    if not wanted:
        return family
    where = str(family.base.folder)
    found = _switched(family.config, {n: s.shape for n, s in family.pivot.tensors.items()}, wanted)
    if found is None:
        raise MergeError(
            f"lora_bias is set, but {sorted(wanted)[0]} is not in the pivot, and no setting of its config adds it",
            where=where,
            do="train the adapter without lora_bias: this structure has no place for the bias",
        )
    config, new = found

    def with_biases(model: OpenModel) -> OpenModel:
        brought = {name: model.biases.get(name) or Zeros(shape, where) for name, shape in new.items()}
        return replace(model, tensors=model.tensors | brought)

    pivot, *targets = map(with_biases, family.models)
    return replace(family, pivot=pivot, targets=tuple(targets), config=config)


def _switched(
    config: Mapping[str, Json], shapes: Mapping[str, Shape], wanted: Mapping[str, Shape]
) -> tuple[dict[str, Json], dict[str, Shape]] | None:
    """A config with a place for all wanted tensors, and all tensors that it has beside the stored ones."""
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
