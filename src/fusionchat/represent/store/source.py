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
    """A file.

    Attributes:
        name: Its path or URL.
        stays: Whether bytes that were looked at once need no second look.
    """

    name: str
    stays: bool

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    def read(self, begin: int, end: int) -> Bytes:
        """The bytes [begin, end); fewer where the file ends before."""
        ...

    def damaged(self, why: str) -> ArtifactError:
        """The error for a file that is not what was written."""
        ...


class LocalFile:
    """A file of this machine, mapped when it is first read: what is not touched is not read.

    The mapping is private: what is written to an array is in no file. No handle stays open, so that any number of files can
    be mapped.
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
        import torch  # it maps a file without keeping a handle

        if self.path.is_dir():
            raise self.damaged("it is a folder")
        size = self.size
        if size == 0:
            return np.zeros(0, np.uint8)
        mapped: Bytes = torch.from_file(self.name, shared=False, size=size, dtype=torch.uint8).numpy()
        return mapped

    def damaged(self, why: str) -> ArtifactError:
        """The error by which its job makes it again."""
        return DamagedError(f"This shard is damaged: {why}", path=self.path, folder=self.path.parent)


class RemoteFile:
    """A file that fsspec reads, piece by piece; what comes is checked each time."""

    stays = False

    def __init__(self, files: object, path: str, size: int) -> None:
        self._files, self._path, self.size = files, path, size
        self.name = files.unstrip_protocol(path)  # type: ignore[attr-defined]

    def read(self, begin: int, end: int) -> Bytes:
        """One request; none for no bytes, which not every file system can be asked for."""
        end = min(end, self.size)
        if begin >= end:
            return np.zeros(0, np.uint8)
        with _asked(self.name):
            data = self._files.cat_file(self._path, begin, end)  # type: ignore[attr-defined]
        return np.frombuffer(data, np.uint8)

    def damaged(self, why: str) -> ArtifactError:
        """An error that says where it is."""
        return ArtifactError(f"This shard is damaged: {why}", where=self.name, do="restore it")


def sources(place: str) -> list[Source]:
    """The shards of a folder or URL, in order.

    Raises:
        ArtifactError: There are none, or fsspec cannot look there.
        DamagedError: One is missing between others.
    """
    found = _remote(place) if "://" in place else _local(Path(place))
    if not found:
        raise ArtifactError(
            "There is no store here: no shard-*.safetensors", where=place, do="give a folder that has shards"
        )
    for index, file in enumerate(found):
        expected = shard_path(Path(), index).name
        if not file.name.endswith(expected):
            raise missing(found, expected)
    return found


def missing(found: list[Source], name: str) -> ArtifactError:
    """The error for a shard that is not there, beside those that are."""
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
    """Turn what a file system of fsspec raises into one clear error: each has kinds of its own."""
    try:
        yield
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArtifactError(
            f"This cannot be read: {said}",
            where=where,
            do="check the address, the network and your login; some file systems need a package that is named above",
        ) from error
