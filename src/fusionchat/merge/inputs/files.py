"""Which files contain a model folder's weights: one file, shards, an index, pickles."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fusionchat.errors import MergeError

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLE_INDEX, PICKLE = "pytorch_model.bin.index.json", "pytorch_model.bin"
AGAIN = "download or save the model again"
_POINTER = b"version https://git-lfs"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)(?P<ending>\.safetensors|\.bin)")


class WeightFiles(NamedTuple):
    """The files of a model's weights.

    Attributes:
        paths: The files, sorted.
        wanted: The file of every tensor that an index names; empty without an index.
        pickled: Whether they are pickles.
    """

    paths: list[Path]
    wanted: Mapping[str, Path] = {}
    pickled: bool = False


def weight_files(folder: Path) -> WeightFiles:
    """A folder's weight files, in the order in which transformers looks for them.

    A single safetensors file is preferred to an index beside it, and safetensors to pickles. Files that
    transformers does not open are read too if they can only be the model's: shards whose index is missing,
    and the only file.

    Raises:
        MergeError: There are none, or a shard is missing, or the index is damaged or names a missing file.
    """
    named = [(SINGLE, INDEX, False), (PICKLE, PICKLE_INDEX, True)]
    for single, index, pickled in named:
        if (folder / single).is_file():
            return WeightFiles([folder / single], pickled=pickled)
        if (folder / index).is_file():
            wanted = read_index(folder / index)
            return WeightFiles(sorted(set(wanted.values())), wanted, pickled)
        shards = _unindexed(folder, single)
        if shards:
            return WeightFiles(shards, pickled=pickled)
    others = sorted(folder.glob("*.safetensors"))
    if len(others) == 1:
        return WeightFiles(others)
    if others:
        raise MergeError(
            f"It is unclear which of these files hold the model's weights: {', '.join(path.name for path in others)}",
            where=str(folder),
            do=f"add their index ({INDEX}), or keep only one file",
        )
    raise MergeError(
        f"There are no weights ({SINGLE}) in this folder", where=str(folder), do="check the path"
    )


def opens_in_transformers(folder: Path) -> bool:
    """Whether transformers finds a folder's weights, for which it knows only four names."""
    return any((folder / name).is_file() for name in (SINGLE, INDEX, PICKLE, PICKLE_INDEX))


def is_without_weights(folder: Path) -> bool:
    """Whether a folder has no file that could be weights, as for a corpus, which needs none."""
    return not any(
        any(folder.glob(f"*{ending}*")) for ending in (".safetensors", ".bin", ".pt", ".pth", ".gguf")
    )


def refuse_pointer(path: Path) -> None:
    """Raise MergeError if a file is Git LFS's pointer to a large file that was not fetched."""
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise MergeError(
                "This file is a Git LFS pointer, not the weights",
                where=str(path),
                do="fetch it: git lfs pull, or download the model again",
            )


def _unindexed(folder: Path, single: str) -> list[Path]:
    """All shards named like ``model-00001-of-00003`` whose index is missing; empty if there are none.

    Raises:
        MergeError: One of them is missing, or there are two sets.
    """
    stem, ending = single.split(".", 1)
    found = {
        path: match
        for path in sorted(folder.glob(f"{stem}-*.{ending}"))
        if (match := _SHARD.fullmatch(path.name)) and match["stem"] == stem
    }
    if not found:
        return []
    counts = {int(match["count"]) for match in found.values()}
    numbers = {int(match["number"]) for match in found.values()}
    first = 0 if 0 in numbers else 1
    missing = sorted(set(range(first, first + max(counts))) - numbers)
    if len(counts) > 1 or missing or len(found) != max(counts):
        what = f"number {missing[0]} of {max(counts)} is missing" if missing else "they are of two sets"
        raise MergeError(
            f"These shards have no index ({single}.index.json), and {what}", where=str(folder), do=AGAIN
        )
    return list(found)


def read_index(index: Path) -> dict[str, Path]:
    """The file of every tensor; raises MergeError if the index is damaged or names a missing file."""
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = {str(name): str(file) for name, file in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MergeError(f"This index is damaged: {error}", where=str(index), do=AGAIN) from error
    wanted = {}
    for name, file in names.items():
        if Path(file).name != file or file in ("", ".", ".."):
            raise MergeError(
                f"The index points outside its folder for tensor {name}: {file!r}",
                where=str(index),
                do="do not use this checkpoint, or correct its index",
            )
        if not (index.parent / file).is_file():
            raise MergeError(
                f"The index names a file that is missing: {file}, with tensor {name}",
                where=str(index),
                do=f"{AGAIN}, or remove the index if it belongs to another model",
            )
        wanted[name] = index.parent / file
    if not wanted:
        raise MergeError("This index names no tensors", where=str(index), do=AGAIN)
    return wanted
