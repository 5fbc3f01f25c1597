"""A pivot whose names all have a prefix that its class does not know.

It was saved from inside another module: TRL's models with a value head put ``pretrained_model.`` before all
names, Lightning ``model.``, and so on. transformers would load such a folder with random weights; without the
prefix the names are the class's own.
"""

from collections.abc import Iterator
from dataclasses import replace

from fusionchat.console import warn
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.fits import Shapes, verdict
from fusionchat.merge.inputs.plain_decoder import is_exactly

_MOST = 3


def without_prefix(pivot: Checkpoint) -> Checkpoint:
    """The pivot under the names of its class, if only a prefix differs; otherwise unchanged.

    Tensors without the prefix (a value head) have no place in the class, and keep their names.
    """
    shapes = {name: tensor.shape for name, tensor in pivot.tensors.items()}
    if is_exactly(pivot.config, shapes) or "auto_map" in pivot.config:
        return pivot
    prefixes = list(_prefixes(shapes))
    if not prefixes or not verdict(pivot.config, shapes).wrong:
        return pivot
    without = {p: {name.removeprefix(p): shape for name, shape in shapes.items()} for p in prefixes}
    found = next((p for p, held in without.items() if is_exactly(pivot.config, held)), None) or next(
        (p for p, held in without.items() if not verdict(pivot.config, held).wrong), None
    )
    if found is None:
        return pivot
    warn(f"the pivot's names begin with {found}, which its class does not know; the fused model's do not")
    plain = {name.removeprefix(found): tensor for name, tensor in pivot.tensors.items()}
    return replace(pivot, tensors={name: replace(tensor, name=name) for name, tensor in plain.items()})


def _prefixes(shapes: Shapes) -> Iterator[str]:
    """Prefixes of most names, shortest first, whose removal keeps all names distinct."""
    for parts in range(1, _MOST + 1):
        starts = [".".join(name.split(".")[:parts]) + "." for name in shapes]
        prefix = max(dict.fromkeys(starts), key=starts.count, default="")
        if starts.count(prefix) * 2 > len(shapes) and len({n.removeprefix(prefix) for n in shapes}) == len(
            shapes
        ):
            yield prefix
