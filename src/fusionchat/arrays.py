"""Arrays in one safetensors file: written atomically, read as views of the mapped file, no pickle."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fusionchat.artifacts import atomic_path
from fusionchat.damage import verified
from fusionchat.errors import DamagedError

Arrays = dict[str, NDArray[np.generic]]


def save_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays atomically."""
    with atomic_path(path) as partial:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial)


def map_arrays(path: Path) -> Arrays:
    """The arrays of a file by name: views of the mapped file, which is read where they are touched.

    The mapping is private: writing to an array changes no file. No file handle stays open, so any number of
    files can be mapped.

    Raises:
        DamagedError: The file is missing or not what was written.
    """
    try:
        # The library maps a file without a copy only for torch; its tensors and these arrays share the memory.
        with safe_open(verified(path), framework="pt") as file:
            return {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise DamagedError(f"This file is damaged: {error}", path=path, folder=path.parent) from error


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's arrays by name, from its header alone.

    Raises:
        DamagedError: The file is missing or its header is damaged.
    """
    try:
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DamagedError(f"This file is damaged: {error}", path=path, folder=path.parent) from error
