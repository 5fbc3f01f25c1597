"""The hub: what can be an id there, whether it answers, which commit an id stands for, how large a model is."""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, ModelInfo

Kind = Literal["models", "datasets"]
COMMIT = re.compile(r"[0-9a-f]{40}")
ANSWERS_IN_S = 5


@cache
def ask_the_hub_once() -> None:
    """Put the hub's client offline if the hub does not answer: it then reads the cache, without retries."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=ANSWERS_IN_S)
    except Exception:  # no answer of any kind
        constants.HF_HUB_OFFLINE = True


def looks_like_a_path(name: str) -> bool:
    """Whether a name can only be a path: an id is ``name`` or ``owner/name``."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def is_hub_id(name: str) -> bool:
    """Whether a model's name is a hub id: no folder, and of the form ``owner/name``."""
    return not Path(name).is_dir() and name.count("/") == 1 and not looks_like_a_path(name)


@cache
def _info(kind: Kind, name: str, revision: str | None) -> "ModelInfo | DatasetInfo | None":
    """What the hub says of an id; None where it does not answer, or has no such id (loading will say so)."""
    from huggingface_hub import HfApi, constants

    ask_the_hub_once()
    if constants.HF_HUB_OFFLINE:
        return None
    try:
        api = HfApi()
        ask = api.model_info if kind == "models" else api.dataset_info
        return ask(name, revision=revision, timeout=ANSWERS_IN_S)
    except Exception:  # the hub's client raises many kinds
        return None


@cache
def hub_commit(kind: Kind, name: str, revision: str | None = None) -> str:
    """The commit that a hub id stands for.

    The hub is asked first, since files are read from there; where it does not answer, the local cache, from which they
    are read then. Where neither knows, it is the revision as given, or ``main``.
    """
    from huggingface_hub import constants

    wanted = revision or constants.DEFAULT_REVISION
    if COMMIT.fullmatch(wanted):
        return wanted
    info = _info(kind, name, revision)
    if info is not None:
        return info.sha or wanted
    cached = _cached(kind, name) / "refs" / wanted
    return cached.read_text().strip() if cached.is_file() else wanted


def cached_model(name: str, revision: str | None) -> Path | None:
    """The folder in the local cache with what is there of a model's files; None where there is none."""
    folder = _cached("models", name) / "snapshots" / hub_commit("models", name, revision)
    return folder if folder.is_dir() else None


def hub_parameters(name: str, revision: str | None) -> int | None:
    """Elements of a hub model's tensors, as the hub counts them in its safetensors; None where it does not say."""
    held = getattr(_info("models", name, revision), "safetensors", None)
    return None if held is None else int(held.total)


def _cached(kind: Kind, name: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}"


def forget() -> None:
    """Ask the hub again for what it was asked in this process."""
    _info.cache_clear()
    hub_commit.cache_clear()
