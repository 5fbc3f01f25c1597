"""Where a store's bytes come from: mapped files, or any file system of fsspec."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from fusionchat.errors import ArtifactError, DamagedError
from fusionchat.represent.store.blocks import Bytes
from fusionchat.represent.store.layout import SHARDS, shard_path


class Source(Protocol):
    """A file of a store.

    Attributes:
        name: Its path or URL.
        stays: Whether bytes that were checked once need no second check.
    """

    name: str
    stays: bool

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    def read(self, begin: int, end: int) -> Bytes:
        """The bytes [begin, end); fewer where the file ends earlier."""
        ...

    def damaged(self, why: str) -> ArtifactError:
        """The error for a file that is not what was written."""
        ...


class LocalFile:
    """A file of this machine, mapped when it is first read, so that only touched pages are loaded.

    The mapping is private: writing to an array changes no file. No handle stays open, so any number of files
    can be mapped.
    """

    stays = True

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self._mapped: Bytes | None = None

    @property
    def size(self) -> int:
        """Its bytes."""
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise self.damaged(str(error.strerror)) from error

    def read(self, begin: int, end: int) -> Bytes:
        """A view of the mapping."""
        if self._mapped is None:
            self._mapped = self._map()
        return self._mapped[begin:end]

    def _map(self) -> Bytes:
        import torch  # maps a file without keeping a handle

        if self.path.is_dir():
            raise self.damaged("it is a folder")
        size = self.size
        if size == 0:
            return np.zeros(0, np.uint8)
        mapped: Bytes = torch.from_file(self.name, shared=False, size=size, dtype=torch.uint8).numpy()
        return mapped

    def damaged(self, why: str) -> ArtifactError:
        """The error that makes its job run again."""
        return DamagedError(f"This shard is damaged: {why}", path=self.path, folder=self.path.parent)


class RemoteFile:
    """A file that fsspec reads, piece by piece; every piece is checked each time."""

    stays = False

    def __init__(self, files: object, path: str, size: int) -> None:
        self._files, self._path, self.size = files, path, size
        self.name = files.unstrip_protocol(path)  # type: ignore[attr-defined]

    def read(self, begin: int, end: int) -> Bytes:
        """The bytes [begin, end) in one request; none for no bytes, which some file systems refuse."""
        end = min(end, self.size)
        if begin >= end:
            return np.zeros(0, np.uint8)
        with _asked(self.name):
            data = self._files.cat_file(self._path, begin, end)  # type: ignore[attr-defined]
        return np.frombuffer(data, np.uint8)

    def damaged(self, why: str) -> ArtifactError:
        """The error for a damaged remote file."""
        return ArtifactError(f"This shard is damaged: {why}", where=self.name, do="restore it")


def sources(place: str) -> list[Source]:
    """The shards of a folder or URL, in order.

    Raises:
        ArtifactError: There are none, or fsspec cannot list them.
        DamagedError: One is missing between others.
    """
    found = _remote(place) if "://" in place else _local(Path(place))
    if not found:
        raise ArtifactError(
            "There is no store here: no shard-*.safetensors", where=place, do="use a folder with shards"
        )
    for index, file in enumerate(found):
        expected = shard_path(Path(), index).name
        if not file.name.endswith(expected):
            raise missing(found, expected)
    return found


def missing(found: list[Source], name: str) -> ArtifactError:
    """The error for a missing shard among existing ones."""
    beside = found[0]
    if isinstance(beside, LocalFile):
        path = beside.path.with_name(name)
        return DamagedError("This shard is missing", path=path, folder=path.parent)
    return ArtifactError(
        "This shard is missing", where=beside.name.rpartition("/")[0] + "/" + name, do="restore it"
    )


def _local(folder: Path) -> list[Source]:
    return [LocalFile(path) for path in sorted(folder.glob(SHARDS))]


def _remote(url: str) -> list[Source]:
    from fsspec.core import url_to_fs  # a dependency of huggingface_hub

    with _asked(url):
        files, path = url_to_fs(url)
        held = files.glob(f"{path.rstrip('/')}/{SHARDS}", detail=True)
    return [RemoteFile(files, name, int(entry["size"])) for name, entry in sorted(held.items())]


@contextmanager
def _asked(where: str) -> Iterator[None]:
    """Turn what a file system of fsspec raises into one clear error; each raises its own types."""
    try:
        yield
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArtifactError(
            f"This cannot be read: {said}",
            where=where,
            do="check the address, the network and your login; some file systems need a package that is named above",
        ) from error
