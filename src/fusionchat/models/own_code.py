"""Which Python files of a model run with `trust_remote_code`, and that they are pinned."""

import json
from pathlib import Path

from fusionchat.errors import ModelError
from fusionchat.hub import COMMIT, Place, cached_folder, local_folder
from fusionchat.models.ref import ModelRef

MAPPED = ("config.json", "tokenizer_config.json")
ELSEWHERE = "--"
"""The separator between a repository and a class in it: ``owner/name--file.Class``."""


def require_pinned(place: Place, where: str) -> None:
    """Raise ModelError if code would come from a hub id without a commit, or from another repository."""
    if place.path is None and not COMMIT.fullmatch(place.revision or ""):
        raise ModelError(
            f"trust_remote_code runs Python files of {place.name}, which may change from one day to the next",
            where=f"{where}.trust_remote_code",
            do=f"set {where}.revision to the 40 digits of the commit whose files you have read",
        )
    for name in named(place):
        if ELSEWHERE in name:
            raise ModelError(
                f"This model takes its Python files from another repository: {name}",
                where=place.given,
                do="copy them into the model's folder, and name them there without the repository",
            )


def trusted(ref: ModelRef, place: Place) -> bool:
    """Whether Python files of a model (or of its tokenizer) are run, after checking that they are pinned.

    Raises:
        ModelError: As `require_pinned`, or its configuration cannot be downloaded.
    """
    if ref.own_code:
        require_pinned(place, ref.where)
        if place.path is None:
            local_folder(place, MAPPED)
            require_pinned(place, ref.where)
    return ref.own_code


def named(place: Place) -> list[str]:
    """The Python classes that a model's configuration files name, sorted: ``modeling_x.XForCausalLM``."""
    folder, found = cached_folder(place), set[str]()
    for file in MAPPED:
        path = None if folder is None else folder / file
        if path is None or not path.is_file():
            continue
        try:
            mapped = json.loads(path.read_text(encoding="utf-8")).get("auto_map") or {}
        except (ValueError, AttributeError):  # loading reports what is wrong with it
            continue
        for value in mapped.values() if isinstance(mapped, dict) else ():
            found |= {str(one) for one in (value if isinstance(value, list) else [value]) if one}
    return sorted(found)


def python_files(folder: Path) -> list[str]:
    """The Python files of a folder, relative to it, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))


def describe(ref: ModelRef) -> str:
    """Which of a model's own files run, in a few words."""
    folder = cached_folder(ref.place)
    files = [] if folder is None else python_files(folder)
    if not files:
        return "trust_remote_code is set, and no Python files of it are on this machine yet"
    if not named(ref.place):
        return "trust_remote_code is set, and its configuration names none of its Python files"
    return f"its own Python files run: {', '.join(files)}"
