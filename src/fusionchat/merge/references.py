"""How users name models: folders, hub ids, and names for targets."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionchat.errors import MergeError

LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")
"""Files with a model's licence."""


def find_model(reference: str, *, allow_pickle: bool = False) -> Path:
    """The folder of a model: a path, or a hub id (``owner/name`` or ``owner/name@revision``), fetched if need be.

    Raises:
        MergeError: There is no such folder, and the hub cannot give it.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return folder
    name, _, revision = reference.partition("@")
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise MergeError(
            f"There is no such model folder: {reference}", do="give a folder or a hub id (owner/name)"
        )
    from huggingface_hub import snapshot_download

    patterns = [
        "*.json",
        "*.safetensors",
        "*.jinja",
        "*.model",
        "*.txt",
        *LICENCES,
        *(["*.bin"] if allow_pickle else []),
    ]
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises many kinds
        raise MergeError(
            f"The hub does not give {reference}: {error}", do="check the id, the network and your login"
        ) from error


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
