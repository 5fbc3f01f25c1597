"""A target's tensors under the pivot's names: prefixes, ties, renames, buffers.

A published model and a model that transformers saved from it have the same parameters under names that may
differ: with or without the base model's prefix, tied tensors once or twice, buffers or none. The pivot's
stored names are kept.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.stored import Stored
from fusionchat.merge.inputs.structure import Shape, Structure, is_known_buffer, is_plain
from fusionchat.merge.weights import layer_of

STRUCTURE = "merge only models of the pivot's structure"


class Matched(NamedTuple):
    """How a target's tensors match the pivot's.

    Attributes:
        names: The target's name of every pivot tensor that it has.
        kept: The pivot's tensors that the target lacks and that are not parameters; they are copied as
            stored.
        left: The target's tensors that have no place in the pivot's structure.
    """

    names: dict[str, str]
    kept: tuple[str, ...]
    left: dict[str, Shape]


class Known:
    """What transformers knows of the pivot, looked up once, when it is needed.

    Args:
        pivot: The pivot.
        found: The structure, if it is known already.
    """

    def __init__(self, pivot: Checkpoint, found: Structure | None = None) -> None:
        self.pivot = pivot
        self._asked = found is not None
        self._found = found

    def __call__(self) -> Structure | None:
        """The structure; None if transformers cannot build it or the stored tensors do not fill it."""
        if not self._asked:
            from fusionchat.merge.inputs.structure import structure_of

            found = structure_of(self.pivot.folder, {n: t.shape for n, t in self.pivot.tensors.items()})
            self._asked, self._found = True, found if found is not None and found.fits else None
        return self._found

    def is_buffer(self, name: str, shape: Shape) -> bool:
        """Whether a tensor is a buffer and not a parameter."""
        if is_plain(name, shape):
            return False
        found = self()
        return is_known_buffer(name, shape) if found is None else found.is_buffer(name)

    def is_state(self, name: str) -> bool:
        """Whether a buffer of the pivot is saved with the model, so that its values may be the model's own."""
        found = self()
        return found is not None and found.is_state(name)

    def buffers(self) -> set[str]:
        """The pivot's tensors that are copied as stored.

        Buffers that are the models' own are excluded where a target's differ.
        """
        return {n for n, t in self.pivot.tensors.items() if self.is_buffer(n, t.shape)}


def find(held: Mapping[str, Shape], pivot: Checkpoint, known: Known, *, tied: bool = False) -> dict[str, str]:
    """The names in ``held`` of the pivot's tensors that exist there."""
    names = {name: name for name in pivot.tensors if name in held}
    for step in (_prefixed, partial(_tied, tied=tied), partial(_renamed, known=known)):
        missing = [name for name in pivot.tensors if name not in names]
        if not missing:
            break
        names |= step(missing, names, held, pivot)
    return names


def match(
    target: str, held: Mapping[str, Shape], pivot: Checkpoint, known: Known, *, tied: bool, where: str
) -> Matched:
    """How a target's tensors match the pivot's.

    Args:
        target: The target's name, for messages.
        held: The target's tensors.
        pivot: The pivot.
        known: What transformers knows of the pivot.
        tied: Whether the target's config ties embedding and head.
        where: The target's folder, for messages.

    Raises:
        MergeError: A parameter is missing.
    """
    names = find(held, pivot, known, tied=tied)
    missing = [name for name in pivot.tensors if name not in names]
    kept = [name for name in missing if _is_no_parameter(name, pivot.tensors[name], known)]
    for name in missing:
        if name not in kept:
            raise MergeError(f"Target {target} lacks tensor {name}", where=where, do=STRUCTURE)
    used = set(names.values())
    return Matched(names, tuple(kept), {n: held[n] for n in sorted(set(held) - used)})


def _prefixed(
    missing: list[str], names: Mapping[str, str], held: Mapping[str, Shape], pivot: Checkpoint
) -> dict[str, str]:
    """Names that the target or the pivot has with a prefix (``transformer.h.0...`` for ``h.0...``)."""
    free = sorted(set(held) - set(names.values()))
    ends = [missing[0], missing[-1]]
    prefixes = {
        e[: -len(m)] for m in ends for e in free if e.endswith(f".{m}") and layer_of(e[: -len(m)]) is None
    }
    found = [{m: p + m for m in missing if held.get(p + m) == pivot.tensors[m].shape} for p in prefixes]
    cut = {m[: -len(e)] for m in ends for e in free if m.endswith(f".{e}") and layer_of(m[: -len(e)]) is None}
    found += [
        {
            m: m[len(p) :]
            for m in missing
            if m.startswith(p) and held.get(m[len(p) :]) == pivot.tensors[m].shape
        }
        for p in cut
    ]
    return max(found, key=len, default={})


def _tied(
    missing: list[str],
    names: Mapping[str, str],
    _: Mapping[str, Shape],
    pivot: Checkpoint,
    *,
    tied: bool,
) -> dict[str, str]:
    """Names of tensors that the target stores only under the name of the tensor they are tied to."""
    twins = {name: twin_of(name, pivot, tied, names) for name in missing}
    return {name: names[twin] for name, twin in twins.items() if twin is not None}


def _renamed(
    missing: list[str],
    _: Mapping[str, str],
    held: Mapping[str, Shape],
    __: Checkpoint,
    *,
    known: Known,
) -> dict[str, str]:
    """Names that transformers maps to one parameter, tied tensors included."""
    structure = known()
    if structure is None:
        return {}
    place = {structure.canonical(name): name for name in held}
    wanted = {name: place.get(structure.canonical(name)) for name in missing if structure.has(name)}
    return {name: found for name, found in wanted.items() if found is not None}


def twin_of(missing: str, pivot: Checkpoint, tied: bool, held: Iterable[str]) -> str | None:
    """The matrix that a missing one is tied to; None if there is none.

    It is equal in the pivot, or the only possible one if the config ties. Vectors are not compared: biases of
    0 and norms of 1 are equal without being tied.
    """
    mine, there = pivot.tensors[missing], set(held)
    if len(mine.shape) < 2:
        return None
    alike = [n for n, t in pivot.tensors.items() if n != missing and n in there and t.shape == mine.shape]
    for name in alike:
        if pivot.tensors[name].dtype == mine.dtype and pivot.tensors[name].raw() == mine.raw():
            return name
    outside = [n for n in alike if layer_of(n) is None]
    return outside[0] if tied and layer_of(missing) is None and len(outside) == 1 else None


def _is_no_parameter(name: str, tensor: Stored, known: Known) -> bool:
    structure = known()
    if structure is None:
        return is_known_buffer(name, tensor.shape)
    return not structure.has(name) or known.is_buffer(name, tensor.shape)


def check_left(
    target: str,
    left: Mapping[str, Shape],
    known: Known,
    is_twin: Callable[[str], bool],
    *,
    where: str,
) -> list[str]:
    """Names of tensors left out of the merge that are not buffers: heads that the pivot lacks.

    Raises:
        MergeError: One of them is a parameter of the structure, or the structure is unknown.
    """
    heads = []
    for name, shape in left.items():
        if is_twin(name) or is_known_buffer(name, shape):
            continue
        structure = known()
        if structure is None or structure.has(name):
            raise MergeError(
                f"Target {target} has tensor {name}, which the pivot lacks", where=where, do=STRUCTURE
            )
        if not structure.is_buffer(name):
            heads.append(name)
    return heads
