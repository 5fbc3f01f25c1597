"""Which model an adapter belongs to: a file beside the adapter, and its check."""

from pathlib import Path

from fusionchat.artifacts import read_json, write_json
from fusionchat.errors import ModelError
from fusionchat.hub import Place, cached_folder
from fusionchat.models.identity import folder_identity

BASE = "fusionchat_base.json"
"""The file's name in an adapter's folder."""
WEIGHTS = ("*.safetensors", "*.bin")


def weights_identity(folder: Path) -> str:
    """What identifies a model folder's weights, wherever it is: its safetensors, else its pickles."""
    kind = next((one for one in WEIGHTS if any(folder.glob(one))), WEIGHTS[0])
    return folder_identity(folder, (kind,))


def write_base(adapter: Path, base: Place, **more: str | None) -> None:
    """Write beside an adapter which weights it was trained on.

    Args:
        adapter: Its folder.
        base: The model; its weights are on this machine.
        more: Further entries, such as the quantization of the weights.
    """
    folder = cached_folder(base)
    assert folder is not None, "a model that was trained on is here"
    name = base.name if base.path is None else str(base.path.resolve())
    held = {"model": name, "revision": base.revision, "weights": weights_identity(folder), **more}
    write_json(adapter / BASE, {key: value for key, value in held.items() if value is not None})


def require_same_weights(adapter: Path, base: Path) -> None:
    """Raise ModelError if an adapter was trained on other weights than a model folder's.

    Only adapters made here have the file that says so.
    """
    record = adapter / BASE
    if not record.is_file():
        return
    held = read_json(record)
    if held.get("weights") != weights_identity(base):
        raise ModelError(
            f"This adapter was trained on {held.get('model')}, and {base} has other weights",
            where=str(adapter),
            do=f"use the model that it was trained on; if both are the same model in different files, remove {BASE}",
        )
