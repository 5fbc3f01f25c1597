"""The memory of this machine, or of the container that has a part of it."""

from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""A container's limit and what it uses, in version 2 and 1 of Linux's control groups."""


def total() -> float:
    """Bytes that all processes here may use together."""
    import psutil

    whole = float(psutil.virtual_memory().total)
    limit, _ = limited()
    return min(whole, limit)


def available() -> float:
    """Bytes that a process could take now without another one's loss."""
    import psutil

    limit, used = limited()
    return max(0.0, min(float(psutil.virtual_memory().available), limit - used))


def limited(groups: Path = GROUPS) -> tuple[float, float]:
    """A container's limit and what it uses, in bytes; infinity and 0 without a limit."""
    for limit, used in FILES:
        try:
            return float((groups / limit).read_text()), float((groups / used).read_text()) - _cached(groups)
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return float("inf"), 0.0


def _cached(groups: Path) -> float:
    """Bytes of a container's use that are files' pages, which the system takes back when it needs them."""
    for name in ("memory.stat", "memory/memory.stat"):
        try:
            held = dict(line.split() for line in (groups / name).read_text().splitlines())
            return float(held["inactive_file"])
        except (OSError, ValueError, KeyError):
            continue
    return 0.0
