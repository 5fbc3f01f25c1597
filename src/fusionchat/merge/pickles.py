"""PyTorch pickles, opened only where the user allows it, and only as weights: turned into safetensors once, beside the output."""

from pathlib import Path

from fusionchat.artifacts import atomic_path
from fusionchat.errors import MergeError

PATTERN = "pytorch_model*.bin"


def pickles_of(folder: Path) -> list[Path]:
    """The pickles of a model folder that has no safetensors."""
    if any(folder.glob("*.safetensors")):
        return []
    return sorted(folder.glob(PATTERN))


def unpickle(pickles: list[Path], into: Path) -> list[Path]:
    """Write each pickle as safetensors (``torch.load(weights_only=True)``); files that are there are kept.

    Raises:
        MergeError: A file holds anything but tensors.
    """
    import torch
    from safetensors.torch import save_file

    into.mkdir(parents=True, exist_ok=True)
    made = []
    for pickle in pickles:
        path = into / f"{pickle.stem}.safetensors"
        made.append(path)
        if path.is_file():
            continue
        try:
            values = torch.load(pickle, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torch raises many kinds for a damaged or unsafe file
            raise MergeError(
                f"This pickle cannot be read as weights: {error}",
                where=str(pickle),
                do="save the model as safetensors",
            ) from error
        if not (isinstance(values, dict) and all(isinstance(v, torch.Tensor) for v in values.values())):
            raise MergeError(
                "This pickle holds more than tensors", where=str(pickle), do="save the model as safetensors"
            )
        with atomic_path(path) as partial:
            save_file({name: value.contiguous().clone() for name, value in values.items()}, partial)
    return made
