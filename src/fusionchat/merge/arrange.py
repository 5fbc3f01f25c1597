"""Layers of the fused model taken from other places than their own: stacking, slicing, repeating."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.checkpoint import Checkpoint
from fusionchat.merge.methods.passthrough import Passthrough
from fusionchat.merge.plan import Source
from fusionchat.merge.weights import layer_of

_COUNTS = ("num_hidden_layers", "n_layer", "num_layers")


@dataclass(frozen=True)
class Arrangement:
    """For each layer of the fused model, the layer of every input that takes part.

    Attributes:
        layers: Per fused layer, pairs of input name (``pivot`` or a target's) and layer; the first takes the pivot's part.
    """

    layers: tuple[tuple[tuple[str, int], ...], ...]

    def config_changes(self, config: Mapping[str, Json]) -> dict[str, Json]:
        """Entries of the config that follow from the number and order of layers."""
        changes: dict[str, Json] = {key: len(self.layers) for key in _COUNTS if key in config}
        kinds = config.get("layer_types")
        if isinstance(kinds, list):
            changes["layer_types"] = [kinds[layer[0][1]] for layer in self.layers]
        return changes


class Part(NamedTuple):
    """A tensor of the fused model and where its inputs lie: pairs of input name and tensor name."""

    name: str
    sources: tuple[tuple[str, str], ...]


def passthrough_arrangement(method: Passthrough, pivot: Checkpoint) -> Arrangement:
    """The layers that passthrough stacks: those of its slices, or the pivot's as they are."""
    if method.slices is None:
        layers = sorted({n for name in pivot.tensors if (n := layer_of(name)) is not None})
        return Arrangement(tuple((("pivot", n),) for n in layers))
    return Arrangement(tuple(((part.model, n),) for part in method.slices for n in range(*part.layers)))


def renumbered(name: str, layer: int) -> str:
    """A parameter's name with another layer number.

    >>> renumbered("model.layers.3.mlp.weight", 7)
    'model.layers.7.mlp.weight'
    """
    parts = name.split(".")
    place = next(i for i, part in enumerate(parts) if part.isdigit())
    return ".".join([*parts[:place], str(layer), *parts[place + 1 :]])


def arranged(
    arrangement: Arrangement, pivot: Checkpoint, inputs: Mapping[str, Mapping[str, Source]]
) -> Iterator[Part]:
    """The fused model's tensors: those outside the layers first, then layer by layer.

    Tensors outside the layers are merged from all inputs where layers are merged from several, else the pivot's.

    Raises:
        MergeError: An input or a layer is not there.
    """
    several = any(len(layer) > 1 for layer in arrangement.layers)
    for name in pivot.tensors:
        if layer_of(name) is None:
            yield Part(name, tuple((i, name) for i in inputs) if several else (("pivot", name),))
    held = {i: _by_layer(tensors) for i, tensors in inputs.items()}
    for number, layer in enumerate(arrangement.layers):
        for name, place in layer:
            if name not in held or place not in held[name]:
                raise MergeError(
                    f"There is no layer {place} in {name!r}", where="slices", do="name a layer that exists"
                )
        first, place = layer[0]
        for name in held[first][place]:
            sources = tuple((i, renumbered(name, n)) for i, n in layer)
            for i, wanted in sources:
                if wanted not in inputs[i]:
                    raise MergeError(
                        f"There is no tensor {wanted} in {i!r}",
                        where="slices",
                        do="join layers of one structure",
                    )
            yield Part(renumbered(name, number), sources)


def _by_layer(tensors: Mapping[str, Source]) -> dict[int, list[str]]:
    layers: dict[int, list[str]] = {}
    for name in tensors:
        if (number := layer_of(name)) is not None:
            layers.setdefault(number, []).append(name)
    return layers
