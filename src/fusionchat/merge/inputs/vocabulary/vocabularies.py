"""Vocabularies of pivot and targets, matched row by row by token, or refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.console import warn
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.low_rank import Adapted
from fusionchat.merge.inputs.checkpoint import Checkpoint, read_config
from fusionchat.merge.inputs.models import Family
from fusionchat.merge.inputs.names import STRUCTURE
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.textmodel import Config, text_of, with_text
from fusionchat.merge.inputs.vocabulary.embeddings import Embeddings, align_rows, regather
from fusionchat.merge.inputs.vocabulary.files import (
    Vocabulary,
    first_difference,
    largest_token,
    read_vocabulary,
    same_tokenizer,
    vocabulary_file,
)
from fusionchat.merge.weights import layer_of

_SHARED = 0.5
"""Share of a target's rows, or of the pivot's tokens if fewer, that must match by token."""


def align_vocabulary(family: Family, embeddings: Embeddings) -> tuple[Family, tuple[dict[str, Json], ...]]:
    """The models with matched vocabulary rows, with the fused config, and the added tokens.

    Raises:
        MergeError: Rows cannot be matched by token.
    """
    pivot, config, targets = family.base, family.config, family.targets
    rows = text_of(config).get("vocab_size")
    if embeddings == "error":
        own = [t for t in targets if t.checkpoint is not None or _has_own_rows(t.tensors, pivot)]
        _refuse_other_tokens(pivot, {target.name: target.folder for target in own})
    names = vocabulary_tensors(pivot)
    if embeddings in ("error", "rows") or not isinstance(rows, int) or not names:
        return family, ()
    counts = [target.tensors[names[0]].shape[0] for target in targets]
    mine = read_vocabulary(pivot.folder)
    theirs = [
        _vocabulary(target.name, target.folder, pivot, mine, count, adapted=target.checkpoint is None)
        for target, count in zip(targets, counts, strict=True)
    ]
    try:
        alignment = align_rows(rows, counts, mine, theirs, embeddings == "union")
    except ValueError as error:
        raise MergeError(
            f"The vocabularies cannot be united: {error}", where=str(pivot.folder), do="use embeddings: pivot"
        ) from error
    models = family.models
    for name in names:
        _check_rows(name, [one.tensors[name] for one in models], [rows, *counts], family.names)
        first, *others = (one.tensors[name] for one in models)
        gathered = regather(alignment, first, others)
        models = tuple(
            replace(one, tensors=one.tensors | {name: source})
            for one, source in zip(models, gathered, strict=True)
        )
    sizes = {k: v for k, v in text_of(config).items() if k.startswith("vocab_size") and v == rows}
    config = with_text(config, dict.fromkeys(sizes, alignment.rows))
    return replace(family, pivot=models[0], targets=models[1:], config=config), alignment.added


def vocabulary_tensors(pivot: Checkpoint) -> list[str]:
    """Tensors with a row per token."""
    rows = text_of(pivot.config).get("vocab_size")
    return [n for n, t in pivot.tensors.items() if t.shape[:1] == (rows,) and layer_of(n) is None]


def _has_own_rows(held: Mapping[str, Source], pivot: Checkpoint) -> bool:
    """Whether an adapter has embeddings or rows of them, which belong to its own tokenizer."""
    return any(
        held[n] is not pivot.tensors[n] and not isinstance(held[n], Adapted)
        for n in vocabulary_tensors(pivot)
    )


def _vocabulary(
    name: str, folder: Path, pivot: Checkpoint, mine: Vocabulary | None, count: int, *, adapted: bool
) -> Vocabulary | None:
    """A target's tokens; None if its rows can only be the pivot's, one by one.

    Raises:
        MergeError: It is unknown which of its rows is which token, or most tokens differ from the pivot's.
    """
    rows = text_of(pivot.config).get("vocab_size")
    if vocabulary_file(folder) is None:
        if adapted and count == rows:
            return mine  # an adapter without a tokenizer has the pivot's, unless tokens were added
        if adapted or mine is None or count == rows:
            return None
        raise _not_by_token(name, folder, f"it has {count} rows and no tokenizer that says their tokens")
    if mine is None:
        if count == rows:
            return None
        raise _not_by_token(name, pivot.folder, "the pivot has no tokenizer")
    theirs = mine if same_tokenizer(pivot.folder, folder) else read_vocabulary(folder)
    assert theirs is not None
    common = sum(text in mine.ids for text in theirs.ids)
    if common < _SHARED * min(len(mine.ids), count):
        why = f"only {common} of its {count} rows have a token among the pivot's {len(mine.ids)}"
        raise _not_by_token(name, folder, why)
    return theirs


def _not_by_token(name: str, folder: Path, why: str) -> MergeError:
    return MergeError(
        f"The vocabulary rows of target {name} cannot be matched with the pivot's by token: {why}",
        where=str(folder),
        do="merge models of one tokenizer, or save the right tokenizer.json in this folder",
    )


def _refuse_other_tokens(pivot: Checkpoint, targets: Mapping[str, Path]) -> None:
    """Raise MergeError if a target with a tokenizer has tokens in other rows than the pivot."""
    mine: Vocabulary | None = None
    for name, folder in targets.items():
        files = vocabulary_file(pivot.folder), vocabulary_file(folder)
        if None in files or same_tokenizer(pivot.folder, folder):
            continue
        mine = mine or read_vocabulary(pivot.folder)
        theirs = read_vocabulary(folder)
        found = first_difference(mine, theirs) if mine and theirs else None
        if found is not None:
            text, row, here = found
            there = "has no such token" if here is None else f"has it in row {here}"
            raise MergeError(
                f"Target {name} has another vocabulary: its token {text!r} is row {row}, the pivot {there}",
                where=str(files[1]),
                do="set embeddings to pivot or union (--embeddings)",
            )


def _check_rows(name: str, sources: list[Source], rows: list[int], targets: list[str]) -> None:
    for target, source, count in zip(["the pivot", *targets], sources, rows, strict=True):
        if source.shape != (count, *sources[0].shape[1:]):
            raise MergeError(
                f"Tensor {name} has shape {list(source.shape)} in {target}, not {[count, *sources[0].shape[1:]]}",
                where=source.origin,
                do=f"{STRUCTURE}, with as many rows in each tensor of the vocabulary (an adapter of a larger vocabulary: "
                "save it with save_embedding_layers=True)",
            )


def check_tokens(folder: Path, config: Config) -> None:
    """Raise MergeError if a tokenizer has a token beyond the rows of a fused model's config.

    Args:
        folder: The folder whose tokenizer the fused model gets.
        config: The fused model's config.
    """
    rows, largest = text_of(config).get("vocab_size"), largest_token(folder)
    if isinstance(rows, int) and largest is not None and largest[1] >= rows:
        raise MergeError(
            f"The tokenizer's token {largest[0]!r} is row {largest[1]}, but the fused model would have {rows} rows",
            where=str(folder),
            do="take that token out of the tokenizer, or resize the model's embeddings (resize_token_embeddings)",
        )


def check_new_tokens(source: str, theirs: Vocabulary, ours: Vocabulary, pivot: Path) -> None:
    """Raise MergeError if the fused model's tokenizer has tokens without rows; warn of untrained ones.

    Args:
        source: The model whose tokenizer it is, as named in the file.
        theirs: Its tokens.
        ours: The pivot's tokens.
        pivot: The pivot's folder.
    """
    rows = text_of(read_config(pivot)).get("vocab_size")
    new = {
        text: row
        for text, row in sorted(theirs.ids.items(), key=lambda item: item[1])
        if text not in ours.ids
    }
    beyond = [text for text, row in new.items() if isinstance(rows, int) and row >= rows]
    if beyond:
        raise MergeError(
            f"The tokenizer of {source} has {_listed(beyond)} beyond the {rows} rows of the merged models",
            where="tokenizer_source",
            do=f"use union, with {source} among the models if its rows are wanted, or base",
        )
    if new:
        warn(
            f"the tokenizer of {source} has {_listed(list(new))}, which the pivot lacks: their rows are copied unchanged"
        )


def _listed(tokens: list[str]) -> str:
    shown = ", ".join(map(repr, tokens[:3]))
    return f"{len(tokens)} tokens ({shown}{' ...' if len(tokens) > 3 else ''})"
