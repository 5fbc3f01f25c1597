"""Where an entry of a corpus is: a file, the files of a pattern, or a data set on the hub."""

import glob
import os
from pathlib import Path
from typing import NamedTuple

from fusionchat.artifacts import fingerprint, sha256_file
from fusionchat.errors import CorpusError
from fusionchat.hub import Place, find, hub_commit


class Located(NamedTuple):
    """What the path of an entry refers to.

    Attributes:
        path: The path, relative to the working directory; or the id of a data set.
        files: The files, by name; none for a data set on the hub.
        hub: The data set on the hub.
    """

    path: str
    files: tuple[Path, ...]
    hub: Place | None = None


def locate(path: str, folder: str = ".", revision: str | None = None) -> Located:
    """The file of this name, else the files of this pattern in order, else the data set on the hub.

    Args:
        path: The path in the recipe.
        folder: The recipe's folder.
        revision: The revision of a data set.

    Raises:
        CorpusError: It is a folder, no file matches, or the file does not exist.
    """
    place = find(path, folder, revision, kind="datasets")
    if place.path is not None and place.path.is_dir():
        raise CorpusError(
            "This is a folder, not a corpus file",
            where=path,
            do=f"use a pattern for its files: {Path(path) / example(place.path)}",
        )
    if place.path is not None:
        return Located(place.name, (place.path,))
    if glob.has_magic(path):
        return _matched(path, folder)
    if place.hub_id is None or is_a_file_s(Path(place.name).suffix):
        raise CorpusError(
            "There is no such corpus file",
            where=path,
            do="check the path; in a recipe it is relative to the recipe's folder",
        )
    return Located(place.name, (), place)


def _matched(path: str, folder: str) -> Located:
    asked = Path(path).expanduser()
    for pattern in (str(Path(glob.escape(folder)) / asked), str(asked)):
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207 - a Path's takes no absolute pattern
        found = sorted(Path(one) for one in names if Path(one).is_file())
        if found:
            return Located(pattern, tuple(found))
    raise CorpusError(
        "No file matches this pattern",
        where=path,
        do="check the pattern; in a recipe it is relative to the recipe's folder",
    )


def is_a_file_s(ending: str) -> bool:
    """Whether an ending is a file's, unlike the one of `org/OpenHermes-2.5`."""
    return ending[1:].isalpha() or ending == ".7z"


def example(folder: Path) -> str:
    """A pattern for the files of a folder, with the ending that most of them have."""
    endings = [one.suffix for one in sorted(folder.iterdir()) if one.is_file() and one.suffix]
    return f"*{max(endings, key=endings.count)}" if endings else "*.jsonl"


def content_of(path: str, revision: str | None) -> str:
    """What identifies the content of an entry: the checksums of its files, or a data set's commit.

    Several files are identified with their names.
    """
    found = locate(path, "", revision)
    if found.hub is not None:
        return f"hub:{found.path}@{hub_commit(found.hub)}"
    if not glob.has_magic(path) or (len(found.files) == 1 and str(found.files[0]) == path):
        return sha256_file(found.files[0])
    root = os.path.commonpath([file.parent for file in found.files])
    return fingerprint({}, {os.path.relpath(file, root): sha256_file(file) for file in found.files})
