"""PyTorch pickles as weights, opened without running code, and mapped.

A merge of folders that a user names opens them only with ``--allow-pickle``, since they may come from
anywhere. A recipe's run needs no permission, because transformers has opened the pivot's pickle before, in
the same way.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.stored import MappedFile, Stored

if TYPE_CHECKING:
    import torch

_SAFE = "save the model as safetensors"


@dataclass(frozen=True)
class Pickled(Stored):
    """A tensor of a pickle.

    Attributes:
        tensor: The tensor, mapped into memory by torch.
    """

    tensor: "torch.Tensor"

    @cached_property
    def _bytes(self) -> np.ndarray:
        import torch

        flat = self.tensor.detach().contiguous().reshape(-1)
        return flat.view(torch.uint8).numpy() if flat.numel() else np.zeros(0, np.uint8)

    def raw(self) -> memoryview:
        """The bytes, not copied."""
        return self._bytes.data

    @cached_property
    def values(self) -> np.ndarray:
        """All elements; bfloat16 as uint16."""
        return self._bytes.view(self.view)

    def read_ahead(self, begin: int) -> None:
        """Do nothing, since its place in the file is unknown."""

    def release(self) -> None:
        """Do nothing."""


def open_pickle(file: MappedFile) -> dict[str, Stored]:
    """The tensors of a pickle by name.

    Raises:
        MergeError: It contains anything but tensors, or cannot be read.
    """
    import torch

    where = str(file.path)
    try:
        values = _load(file.path)
    except Exception as error:  # torch raises many types for a damaged or unsafe file
        raise MergeError(
            "This pickle is damaged or holds more than weights", where=where, do=_SAFE
        ) from error
    if not (isinstance(values, dict) and all(isinstance(v, torch.Tensor) for v in values.values())):
        raise MergeError("This pickle holds more than tensors", where=where, do=_SAFE)
    return {str(name): _pickled(str(name), value, file) for name, value in values.items()}


def _load(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6


def _pickled(name: str, tensor: "torch.Tensor", file: MappedFile) -> Pickled:
    import torch
    from safetensors.torch import _TYPES

    known = {dtype: kind for kind, dtype in _TYPES.items()}
    if tensor.is_quantized or tensor.layout is not torch.strided or tensor.dtype not in known:
        raise MergeError(
            f"Tensor {name} is quantized or sparse ({tensor.dtype})", where=str(file.path), do=_SAFE
        )
    return Pickled(name, file, known[tensor.dtype], tuple(tensor.shape), 0, tensor)
