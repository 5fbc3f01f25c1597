"""Whether a pivot can be merged with models trained from it, checked before anything is trained.

transformers builds the model from the stored names and shapes without memory and reports which names and
shapes it would save; the merge's own checks compare the two. Only headers are read.
"""

from contextlib import ExitStack
from pathlib import Path

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import Checkpoint, open_checkpoint, read_config
from fusionchat.merge.inputs.files import opens_in_transformers
from fusionchat.merge.inputs.names import Known, check_left, match
from fusionchat.merge.inputs.published import UNQUANTIZED, quantization, refuse_adapter, refuse_as_pivot
from fusionchat.merge.inputs.structure import Shape, Structure, opens_as_causal, structure_of

SAVED = "as transformers would save it"


def rehearse(folder: Path) -> list[str]:
    """What a user should know about a pivot before a run, one line each: tensors copied as stored.

    Raises:
        MergeError: The merge after the training would be refused; the message names the tensor.
    """
    refuse_adapter(folder)
    named = quantization(read_config(folder))
    if named is not None:
        raise MergeError(f"The pivot is quantized ({named})", where=str(folder), do=UNQUANTIZED)
    with ExitStack() as stack:
        pivot = open_checkpoint(folder, allow_pickle=True)  # transformers opens them in the same way
        stack.callback(pivot.close)
        refuse_as_pivot(pivot)
        if not opens_in_transformers(folder):
            raise MergeError(
                "transformers finds no weights in this folder: they have no index, or other names",
                where=str(folder),
                do="save it again: fusionchat merge --pivot THIS --method passthrough --dtype DTYPE --out DIR",
            )
        shapes = {name: tensor.shape for name, tensor in pivot.tensors.items()}
        structure = structure_of(folder, shapes, causal=True)
        if structure is None and not opens_as_causal(folder):
            raise MergeError(
                f"transformers has no causal language model of type {pivot.config.get('model_type')}",
                where=str(folder),
                do="use its language model alone: save it with transformers to a separate folder",
            )
        if structure is None:
            return [
                "its structure cannot be built without its weights; the merge after the training was not rehearsed"
            ]
        refuse_incomplete(structure, folder)
        return _notes(_compare(pivot, structure))


def refuse_incomplete(structure: Structure, folder: Path) -> None:
    """Raise MergeError if stored tensors do not fill the model; transformers would initialise the rest."""
    if structure.missing:
        count = len(structure.missing)
        more = f" and {count - 1} more" if count > 1 else ""
        raise MergeError(
            f"The pivot lacks tensor {structure.missing[0]}{more}: {structure.kind} would start with random values there",
            where=str(folder),
            do="use a complete causal language model",
        )
    if structure.misshapen:
        name, stored, wanted = structure.misshapen[0]
        raise MergeError(
            f"Tensor {name} has shape {list(stored)}, but its config asks for {list(wanted)}",
            where=str(folder),
            do="correct config.json, or download the model again",
        )


def _compare(pivot: Checkpoint, structure: Structure) -> tuple[str, ...]:
    """The pivot's tensors that are copied as stored, after the checks of a merge."""
    known, where = Known(pivot, structure), str(pivot.folder)
    tied = bool(pivot.config.get("tie_word_embeddings"))
    matched = match(SAVED, structure.saved, pivot, known, tied=tied, where=where)
    held = {structure.canonical(name) for name in pivot.tensors}
    check_left(SAVED, matched.left, known, lambda name: structure.canonical(name) in held, where=where)
    buffers = known.buffers()
    for mine, theirs in matched.names.items():
        if mine not in buffers:
            _check_tensor(pivot, mine, structure.saved[theirs])
    return matched.kept


def _check_tensor(pivot: Checkpoint, name: str, saved: Shape) -> None:
    tensor = pivot.tensors[name]
    if not tensor.is_float:
        raise MergeError(
            f"Tensor {name} is stored as {tensor.dtype}, which cannot be trained and merged",
            where=tensor.origin,
            do=UNQUANTIZED,
        )
    if tensor.shape != saved:
        raise MergeError(
            f"Tensor {name} has shape {list(tensor.shape)}; transformers would save {list(saved)}",
            where=tensor.origin,
            do="load the model with transformers and save it again",
        )


def _notes(kept: tuple[str, ...]) -> list[str]:
    if not kept:
        return []
    are = f" and {len(kept) - 1} more are no parameters" if len(kept) > 1 else " is no parameter"
    return [f"{kept[0]}{are} of its structure: not trained, carried over as stored"]
