"""Layers of the fused model that come from other places: stacking, slicing, repeating."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.layers.depth import Pick, restacked
from fusionchat.merge.inputs.layers.stack import Stack, is_before, renumbered
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.textmodel import Config
from fusionchat.merge.methods.passthrough import Passthrough


@dataclass(frozen=True)
class Arrangement:
    """For each layer of the fused model, the layer of every input that takes part.

    Attributes:
        layers: Per fused layer, pairs of input name (``pivot`` or a target's) and layer; the first acts as
            the pivot.
        before: Inputs for tensors before the layers; the one that acts as the pivot first.
        after: The same for tensors after them.
    """

    layers: tuple[tuple[tuple[str, int], ...], ...]
    before: tuple[str, ...] = ("pivot",)
    after: tuple[str, ...] = ("pivot",)

    def config(self, configs: Mapping[str, Config], stack: Stack, where: str) -> dict[str, Json]:
        """The pivot's config, adapted to the number and order of layers.

        Args:
            configs: The configs of all inputs by name; an adapter's is the pivot's.
            stack: The pivot's layers.
            where: The pivot, for messages.

        Raises:
            MergeError: A setting depends on the layer and cannot be adapted.
        """
        picks = [Pick(configs[layer[0][0]], layer[0][1]) for layer in self.layers]
        return restacked(configs["pivot"], picks, stack.layers, where)


class Part(NamedTuple):
    """A tensor of the fused model and where its inputs are: pairs of input name and tensor name."""

    name: str
    sources: tuple[tuple[str, str], ...]


def passthrough_arrangement(method: Passthrough, stack: Stack) -> Arrangement:
    """The layers that passthrough stacks: those of its slices, or the pivot's unchanged."""
    if method.slices is None:
        return Arrangement(tuple((("pivot", n),) for n in range(stack.layers)))
    return Arrangement(tuple(((part.model, n),) for part in method.slices for n in range(*part.layers)))


def arranged(
    arrangement: Arrangement, stack: Stack, pivot: Sequence[str], inputs: Mapping[str, Mapping[str, Source]]
) -> Iterator[Part]:
    """The fused model's tensors: those outside the stack of layers first, then layer by layer.

    Layers after the counted ones (heads that predict further tokens) stay after them.

    Raises:
        MergeError: An input or a layer does not exist.
    """
    for name in pivot:
        if stack.layer(name) is None:
            place = stack.place(name)
            new = name if place is None else renumbered(name, place - stack.layers + len(arrangement.layers))
            ends = arrangement.before if is_before(name) else arrangement.after
            yield Part(new, tuple((i, name) for i in ends))
    held = {i: _by_layer(tensors, stack) for i, tensors in inputs.items()}
    for number, layer in enumerate(arrangement.layers):
        for name, place in layer:
            if name not in held or place not in held[name]:
                raise MergeError(
                    f"There is no layer {place} in {name!r}", where="slices", do="use a layer that exists"
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


def _by_layer(tensors: Mapping[str, Source], stack: Stack) -> dict[int, list[str]]:
    layers: dict[int, list[str]] = {}
    for name in tensors:
        if (number := stack.layer(name)) is not None:
            layers.setdefault(number, []).append(name)
    return layers
