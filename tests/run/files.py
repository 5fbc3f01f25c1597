"""Files of runs, compared and damaged."""

import os
from pathlib import Path

from fusionchat.artifacts import sha256_file
from fusionchat.distill.metrics import METRICS


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): sha256_file(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        and p.name
        not in (
            "manifest.json",
            "report.html",
            "report.json",
            "report.md",
            "merge_weights.json",
            "README.md",
            METRICS,
        )
    }


def damage_unseen(path: Path) -> None:
    """Change a byte of a file, but not its size and time."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def outputs(folder):
    """SHA-256 of everything a run leaves that has to be the same twice: no times, no dates."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = str(path.relative_to(folder))
        timed = path.name == METRICS or path.name.startswith("attempts-")
        kept = path.is_file() and path.suffix in (".safetensors", ".jsonl") and not timed
        if kept or path.name == "scores.json":
            found[inside] = sha256_file(path)
    return found
