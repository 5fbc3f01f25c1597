"""Whether a name is a folder, GGUF file or hub id, and an id's commit, size and files on the hub."""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from fusionchat.errors import ModelError

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, ModelInfo

T = TypeVar("T")
Kind = Literal["models", "datasets"]
COMMIT = re.compile(r"[0-9a-f]{40}")
GGUF = ".gguf"
HUB_FILE = re.compile(r"([\w.-]+/[\w.-]+):([^\\/:][^\\:]*\.gguf)")
"""A GGUF file of a model on the hub: ``owner/name:file.gguf``; does not match ``C:/x.gguf``."""
ANSWERS_IN_S = 2.5
"""Seconds that the hub may take to answer; if it does not, ``plan`` takes 5 s in all."""


@dataclass(frozen=True)
class Place:
    """Where a model or dataset is: on this machine, or else on the hub. Made by `find`.

    Attributes:
        name: Its path (for a GGUF file, its folder's), or its id on the hub.
        path: A model's folder or a dataset's file; None if there is none of this name.
        revision: Branch, tag or commit on the hub; None for a path, and for the hub's default.
        kind: What it is, as the hub names it.
        file: The GGUF file that is meant, relative to the folder or the hub id; None for the folder itself.
    """

    name: str
    path: Path | None = None
    revision: str | None = None
    kind: Kind = "models"
    file: str | None = None

    @property
    def given(self) -> str:
        """The name by which `find` finds it, wherever the recipe is."""
        if self.file is None:
            return self.name
        return f"{self.name}:{self.file}" if self.path is None else str(self.path / self.file)

    @property
    def hub_id(self) -> str | None:
        """Its id on the hub; None for a path, or if the name cannot be an id (``name`` or ``owner/name``)."""
        only_a_path = self.name.startswith((".", "/", "~")) or self.name.count("/") > 1
        return None if self.path is not None or only_a_path else self.name


def find(name: str, folder: str = ".", revision: str | None = None, *, kind: Kind = "models") -> Place:
    """What a name means: the folder or GGUF file of this name if it exists, else a hub id.

    For a dataset it is a file instead of a folder.

    The only thing decided from a name is that a GGUF file's ends in ``.gguf``.

    Args:
        name: A path or an id.
        folder: The folder that a path is relative to; the working directory is tried next.
        revision: Branch, tag or commit of an id.
        kind: What it is.
    """
    path = Path(name).expanduser()
    for candidate in (Path(folder) / path, path):
        if candidate.is_dir() if kind == "models" else candidate.exists():
            return Place(str(candidate), candidate, kind=kind)
        if kind == "models" and candidate.suffix == GGUF and candidate.is_file():
            return Place(str(candidate.parent), candidate.parent, file=candidate.name)
    if kind == "models" and (held := HUB_FILE.fullmatch(name)):
        return Place(held[1], revision=revision, file=held[2])
    return Place(name, revision=revision, kind=kind)


@cache
def ask_the_hub_once() -> None:
    """Put the hub's client offline if the hub does not answer; it then reads the cache without retries."""
    from huggingface_hub import constants, get_session

    if _in_time(lambda: get_session().head(constants.ENDPOINT, timeout=ANSWERS_IN_S)) is None:
        constants.HF_HUB_OFFLINE = True


def _in_time(ask: Callable[[], T]) -> T | None:
    """The hub's answer; None if there is none in time.

    The client's own limit applies to each of the hub's addresses and does not include the DNS look-up.
    """
    answers: list[T] = []

    def listen() -> None:
        try:
            answers.append(ask())
        except Exception:  # the hub's client raises many kinds
            return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    thread.join(ANSWERS_IN_S)
    return answers[0] if answers else None


@cache
def _info(place: Place) -> "ModelInfo | DatasetInfo | None":
    """The hub's information on an id; None without an answer or such an id, which loading reports."""
    from huggingface_hub import HfApi, constants

    ask_the_hub_once()
    if constants.HF_HUB_OFFLINE:
        return None
    ask = HfApi().model_info if place.kind == "models" else HfApi().dataset_info
    return _in_time(lambda: ask(place.name, revision=place.revision, timeout=ANSWERS_IN_S))


@cache
def hub_commit(place: Place) -> str:
    """The commit that a hub id refers to.

    The hub is asked first, since files are read from there; if it does not answer, the local cache, from
    which they are then read. If neither knows, it is the given revision, or ``main``.
    """
    from huggingface_hub import constants

    wanted = place.revision or constants.DEFAULT_REVISION
    if COMMIT.fullmatch(wanted):
        return wanted
    info = _info(place)
    if info is not None:
        return info.sha or wanted
    cached = _cached(place) / "refs" / wanted
    return cached.read_text().strip() if cached.is_file() else wanted


def cached_folder(place: Place) -> Path | None:
    """The model's folder: its own, or the one in the local cache; None if there is none."""
    if place.path is not None:
        return place.path
    folder = _cached(place) / "snapshots" / hub_commit(place)
    return folder if folder.is_dir() else None


def configuration_folder(place: Place) -> Path | None:
    """As `cached_folder`, with the model's ``config.json``, which is downloaded if the hub answers."""
    folder = cached_folder(place)
    if place.path is not None or (folder is not None and (folder / "config.json").is_file()):
        return folder
    if place.hub_id is None or _info(place) is None:
        return folder
    try:
        return local_folder(place, ("config.json",))
    except ModelError:  # loading reports it
        return folder


def local_folder(place: Place, patterns: Sequence[str]) -> Path:
    """The model's folder: its own, or one in the local cache with its files, downloaded if necessary.

    The files are those that match ``patterns``.

    Raises:
        ModelError: The hub cannot give it.
    """
    if place.path is not None:
        return place.path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(place.name, revision=place.revision, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's client raises many kinds
        raise _not_given(place, error) from error


def _not_given(place: Place, error: Exception) -> ModelError:
    return ModelError(
        f"{place.given} cannot be downloaded from the hub: {error}",
        do="check the id, the network and your login, or give a local folder",
    )


def hub_parameters(place: Place) -> int | None:
    """Elements of a hub model's tensors, as the hub counts them in its safetensors; None if it does not."""
    if place.file is not None:
        counted = getattr(_info(place), "gguf", None) or {}
        return int(counted["total"]) if "total" in counted else None
    held = getattr(_info(place), "safetensors", None)
    return None if held is None else int(held.total)


def here(place: Place) -> Path | None:
    """A GGUF file on this machine: in its folder, or in the local cache; None if neither has it."""
    folder = cached_folder(place)
    if folder is None or place.file is None:
        return None
    return folder / place.file if (folder / place.file).is_file() else None


def local_file(place: Place) -> Path:
    """A GGUF file on this machine, downloaded if necessary.

    Raises:
        ModelError: The hub cannot give it.
    """
    assert place.file is not None, "a GGUF file"
    if place.path is not None:
        return place.path / place.file
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(place.name, place.file, revision=place.revision))
    except Exception as error:  # the hub's client raises many kinds
        raise _not_given(place, error) from error


def _cached(place: Place) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{place.kind}--{place.name.replace('/', '--')}"


def forget() -> None:
    """Forget the hub's answers, so that it is asked again."""
    _info.cache_clear()
    hub_commit.cache_clear()
