"""How users name models: folders, hub ids, and names for targets."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionchat.errors import MergeError
from fusionchat.hub import Place, find, local_folder
from fusionchat.models.files import CARRIED

_FETCHED = ("*.json", "*.safetensors", "*.py", *CARRIED)


def find_model(reference: str, *, allow_pickle: bool = False) -> Path:
    """The folder of a path or hub id (``owner/name@revision``), downloaded if necessary.

    Raises:
        MergeError: There is no such folder, and the name cannot be an id.
        ModelError: The hub cannot give it.
    """
    place = find(reference)
    if place.path is None and "@" in reference:
        name, _, revision = reference.partition("@")
        place = Place(name, revision=revision or None)
    if place.path is None and "/" not in (place.hub_id or ""):
        raise MergeError(
            f"There is no such model folder: {reference}", do="give a folder or a hub id (owner/name)"
        )
    return folder_of(place, allow_pickle=allow_pickle)


def folder_of(place: Place, *, allow_pickle: bool = False) -> Path:
    """The folder of a model with everything that a merge reads; pickles only without safetensors.

    Raises:
        ModelError: The hub cannot give it.
    """
    folder = local_folder(place, _FETCHED)
    if allow_pickle and not any(folder.glob("*.safetensors")):
        return local_folder(place, [*_FETCHED, "*.bin"])
    return folder


def name_targets(targets: Sequence[str] | Mapping[str, str], *, split: bool = True) -> dict[str, str]:
    """Targets by name: ``name=reference``, or the last part of the reference, numbered if repeated.

    A folder's path may contain ``=`` (``runs/lr=1e-5``): a name has no ``/``, and an existing folder is not
    split. Without ``split`` nothing is split; a mapping is used as it is.
    """
    if isinstance(targets, Mapping):
        return dict(targets)
    named: dict[str, str] = {}
    for target in targets:
        name, given, reference = target.partition("=")
        if not split or not given or "/" in name or find(target).path is not None:
            reference, name = target, Path(target.partition("@")[0]).name or target
        base, number = name, 2
        while name in named or name == "pivot":
            name, number = f"{base}-{number}", number + 1
        named[name] = reference
    return named
