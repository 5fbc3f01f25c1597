"""Targets that are full models, under the pivot's names: parameters, buffers, and an untied head."""

from dataclasses import dataclass, field

from fusionchat.console import warn
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.layers.stack import is_before
from fusionchat.merge.inputs.names import STRUCTURE, Known, check_left, find, match
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.settings_alike import check_alike
from fusionchat.merge.inputs.stored import Stored
from fusionchat.merge.inputs.textmodel import text_of
from fusionchat.merge.inputs.tied import alike, tied_names
from fusionchat.merge.weights import layer_of

_ROUNDING = {"BF16": 2.0**-7, "F16": 2.0**-10}
"""The largest relative differences that rounding to a type can cause."""


@dataclass
class Buffers:
    """The pivot's tensors that are not parameters.

    Attributes:
        copied: Buffers that are copied as stored.
        moved: Buffers that are the models' own and differ between them: merged, and stored as float32.
    """

    copied: set[str]
    moved: set[str] = field(default_factory=set)


def check_kind(name: str, target: Checkpoint, pivot: Checkpoint) -> None:
    """Raise MergeError if the configs have different structures, or use weights differently."""
    mine, theirs = pivot.config.get("model_type"), target.config.get("model_type")
    if mine and theirs and not _kinds(pivot) & _kinds(target):
        raise MergeError(
            f"Target {name} is of type {theirs}, the pivot of type {mine}",
            where=str(target.folder),
            do=STRUCTURE,
        )
    check_alike(pivot.config, target.config, name, str(target.folder))


def _kinds(checkpoint: Checkpoint) -> set[str]:
    """The model types that a config names: its own, and that of a text model saved from it."""
    named = (checkpoint.config.get("model_type"), text_of(checkpoint.config).get("model_type"))
    return {kind for kind in named if isinstance(kind, str)}


def own_head(target: Checkpoint, pivot: Checkpoint, known: Known) -> str | None:
    """The name of a target's own head where the pivot's is tied to its embedding; None without one.

    A head that is stored beside the embedding counts if it differs, since transformers then does not tie the
    two.
    """
    tied = tied_names(pivot)
    if not tied:
        return None
    names = find({n: t.shape for n, t in target.tensors.items()}, pivot, known)
    embedding = target.tensors.get(names.get(tied[0], ""))
    if embedding is None:
        return None
    if len(tied) == 2:
        head = target.tensors.get(names.get(tied[1], ""))
        return tied[1] if head is not None and not alike(embedding, head) else None
    used = set(names.values())
    for name, tensor in target.tensors.items():
        if name in used or layer_of(name) is not None or tensor.shape != embedding.shape:
            continue
        structure = known()  # only if there is a candidate: transformers is large and slow to load
        is_head = (
            not is_before(name)
            if structure is None
            else structure.canonical(name) == structure.canonical(tied[0])
        )
        if is_head and tensor.is_float and not alike(embedding, tensor):
            return name
    return None


def reconciled(
    name: str, target: Checkpoint, pivot: Checkpoint, known: Known, buffers: Buffers
) -> dict[str, Source]:
    """A target's tensors under the pivot's names.

    Tensors that are not parameters are the pivot's, as in ``buffers``.

    Raises:
        MergeError: A parameter is missing or extra.
    """
    held, where = {n: t.shape for n, t in target.tensors.items()}, str(target.folder)
    tied = bool(target.config.get("tie_word_embeddings"))
    matched = match(name, held, pivot, known, tied=tied, where=where)
    twins = [target.tensors[n] for n in matched.names.values()]

    def is_twin(extra: str) -> bool:
        mine = target.tensors[extra]
        return any(t.shape == mine.shape and t.dtype == mine.dtype and t.raw() == mine.raw() for t in twins)

    heads = check_left(name, matched.left, known, is_twin, where=where)
    if heads:
        more = f" and {len(heads) - 1} more" if len(heads) > 1 else ""
        warn(f"{name}: {heads[0]}{more} left out of the merge: the pivot's structure has no such tensor")
    buffers.copied.update(matched.kept)
    made: dict[str, Source] = {}
    for wanted, mine in pivot.tensors.items():
        theirs = target.tensors.get(matched.names.get(wanted, ""))
        made[wanted] = mine
        if theirs is not None and (wanted not in buffers.copied or _is_moved(wanted, mine, theirs, known)):
            made[wanted] = theirs
            if wanted in buffers.copied:
                buffers.moved.add(wanted)
    return made


def _is_moved(name: str, mine: Stored, theirs: Stored, known: Known) -> bool:
    """Whether a buffer is the models' own and differs by more than rounding."""
    if not (mine.is_float and theirs.is_float and mine.shape == theirs.shape and known.is_state(name)):
        return False
    rounding = max(_ROUNDING.get(mine.dtype, 0.0), _ROUNDING.get(theirs.dtype, 0.0))
    return not alike(mine, theirs, rounding=rounding)
