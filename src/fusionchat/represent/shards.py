"""Shards: `TopK` of a fixed range of conversations in one safetensors file (mmap, no pickle), written atomically."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fusionchat.artifacts import atomic_path
from fusionchat.damage import verified
from fusionchat.errors import DamagedError
from fusionchat.represent.topk import TopK, concatenate

SHARD_CONVERSATIONS = 256
SHARDS = "shard-*.safetensors"
Arrays = dict[str, NDArray[np.generic]]
NAMES = tuple(f.name for f in fields(TopK))


def shard_path(folder: Path, index: int) -> Path:
    """The file of shard ``index``."""
    return folder / f"shard-{index:05d}.safetensors"


def shard_count(conversations: int) -> int:
    """How many shards a number of conversations makes."""
    return -(-conversations // SHARD_CONVERSATIONS)


def shard_range(index: int, conversations: int) -> range:
    """The conversations of shard ``index``."""
    first = index * SHARD_CONVERSATIONS
    return range(first, min(first + SHARD_CONVERSATIONS, conversations))


def write_shard(path: Path, topk: TopK, extras: Mapping[str, NDArray[np.generic]] | None = None) -> None:
    """Write a shard; ``extras`` are further arrays with one entry a row."""
    arrays: Arrays = {name: np.ascontiguousarray(getattr(topk, name)) for name in NAMES}
    arrays |= {f"extra.{name}": np.ascontiguousarray(array) for name, array in (extras or {}).items()}
    with atomic_path(path) as partial:
        save_file(arrays, partial)


def read_shard(path: Path) -> tuple[TopK, Arrays]:
    """Read a shard and its extras; raises DamagedError if it is not what was written."""
    try:
        arrays = load_file(verified(path))
        topk = TopK(**{name: arrays[name] for name in NAMES})
    except (OSError, SafetensorError, KeyError, AssertionError) as error:
        raise DamagedError(f"This shard is damaged: {error}", path=path, folder=path.parent) from error
    return topk, {k.removeprefix("extra."): v for k, v in arrays.items() if k.startswith("extra.")}


def shard_files(folder: Path) -> list[Path]:
    """The shards of a folder in order."""
    return sorted(folder.glob(SHARDS))


def iterate(folder: Path) -> Iterator[TopK]:
    """The shards of a folder in order."""
    for path in shard_files(folder):
        yield read_shard(path)[0]


def read_all(folder: Path) -> TopK:
    """All conversations of a folder in one TopK."""
    return concatenate(list(iterate(folder)))
