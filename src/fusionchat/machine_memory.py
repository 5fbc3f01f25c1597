"""The memory of this machine, or of the container or batch job that has a part of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Linux's control groups, and the file that says which ones this process is in."""


class Kind(NamedTuple):
    """A version of control groups: how a line of `OWN` marks it, its folder, and its files."""

    mark: str
    folder: str
    limit: str
    used: str


KINDS = (
    Kind("", ".", "memory.max", "memory.current"),
    Kind("memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


class Limit(NamedTuple):
    """Bytes that a group of processes may use, and what it uses."""

    limit: float
    used: float


def total() -> float:
    """Bytes that all processes here may use together."""
    import psutil

    return min([float(psutil.virtual_memory().total), *(one.limit for one in limits())])


def available() -> float:
    """Bytes that a process could take now without a loss to others."""
    import psutil

    left = (one.limit - one.used for one in limits())
    return max(0.0, min([float(psutil.virtual_memory().available), *left]))


def limits(groups: Path = GROUPS, own: Path = OWN) -> list[Limit]:
    """The limits of the groups that this process is in, from its own up to the container's."""
    found = []
    for folder, kind in _folders(groups, own):
        try:
            limit = float((folder / kind.limit).read_text())
            used = float((folder / kind.used).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        found.append(Limit(limit, max(0.0, used - _cached(folder))))
    return found


def _folders(groups: Path, own: Path) -> Iterator[tuple[Path, Kind]]:
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return
    for _, marks, path in (line for line in lines if len(line) == 3):
        for kind in KINDS:
            if kind.mark in marks.split(","):
                base, inside = groups / kind.folder, Path(path.lstrip("/"))
                yield from ((base / one, kind) for one in (inside, *inside.parents))


def _cached(folder: Path) -> float:
    """Bytes of a group's use that are pages of files, which the system takes back when it needs them."""
    try:
        held = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return float(held["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0.0
