"""How users name models: folders, hub ids, and names for targets."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionchat.errors import MergeError
from fusionchat.hub import looks_like_a_path
from fusionchat.models.files import CARRIED

_FETCHED = ("*.json", "*.safetensors", "*.py", *CARRIED)


def find_model(reference: str, *, allow_pickle: bool = False) -> Path:
    """The folder of a model: a path, or a hub id (``owner/name`` or ``owner/name@revision``), fetched if need be.

    Raises:
        MergeError: There is no such folder, and the hub cannot give it.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return folder
    name, _, revision = reference.partition("@")
    if looks_like_a_path(name) or "/" not in name:
        raise MergeError(
            f"There is no such model folder: {reference}", do="give a folder or a hub id (owner/name)"
        )
    return fetch(name, revision or None, allow_pickle=allow_pickle)


def fetch(name: str, revision: str | None, *, allow_pickle: bool = False) -> Path:
    """The folder of a hub model with all that a merge reads; pickles only where there are no safetensors.

    Raises:
        MergeError: The hub cannot give it.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_FETCHED)))
        if allow_pickle and not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*_FETCHED, "*.bin"]))
    except Exception as error:  # the hub's client raises many kinds
        raise MergeError(
            f"The hub does not give {name}: {error}", do="check the id, the network and your login"
        ) from error
    return folder


def cached(name: str, revision: str | None) -> Path | None:
    """The folder of a hub model in the local cache, None if it is not there."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # the hub's client raises many kinds
        return None


def name_targets(targets: Sequence[str] | Mapping[str, str], *, split: bool = True) -> dict[str, str]:
    """Targets by name: ``name=reference``, or the last part of the reference, numbered where it occurs again.

    A folder's path may hold ``=`` (``runs/lr=1e-5``): a name has no ``/``, and what is a folder is not split. Without
    ``split`` nothing is; a mapping is taken as it is.
    """
    if isinstance(targets, Mapping):
        return dict(targets)
    named: dict[str, str] = {}
    for target in targets:
        name, given, reference = target.partition("=")
        if not split or not given or "/" in name or Path(target).expanduser().is_dir():
            reference, name = target, Path(target.partition("@")[0]).name or target
        base, number = name, 2
        while name in named or name == "pivot":
            name, number = f"{base}-{number}", number + 1
        named[name] = reference
    return named
