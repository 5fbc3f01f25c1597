"""Artifacts of a run: folders whose manifest comes last, atomic files, fingerprints and checksums.

A job's folder is done if and only if its ``manifest.json`` exists and has the job's fingerprint. While a job
runs, ``progress.json`` has its fingerprint, so that a killed job continues where it stopped, and the remains
of an older one are cleared first.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fusionchat.errors import ArtifactError, MachineError
from fusionchat.host import is_running, this_host

MANIFEST, PROGRESS = "manifest.json", "progress.json"
CHECKSUM = "checksum"
PARTIAL = ".partial"
ABANDONED = 24 * 60 * 60  # seconds
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class Manifest:
    """The record of a finished job: what it was made from and what it made.

    Attributes:
        fingerprint: SHA-256 of settings, inputs and the stage's version.
        settings: The settings that change the output.
        inputs: Fingerprints of what was read, by name.
        files: SHA-256 of every file written, by relative path.
        versions: Versions of the packages that took part (for the reader; not part of the fingerprint).
        seconds: Wall time of the job.
        summary: Figures for the report.
        version: The version of the stage that made it.
        stamps: Size and time (ns) of every file when the job was done, by relative path.
        made: Who made it: node, process, attempt, when it began, and the same for its shards.
    """

    fingerprint: str
    settings: dict[str, Json]
    inputs: dict[str, str]
    files: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    summary: dict[str, Json] = field(default_factory=dict)
    version: int = 0
    stamps: dict[str, list[int]] = field(default_factory=dict)
    made: dict[str, Json] = field(default_factory=dict)


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(settings: Mapping[str, Json], inputs: Mapping[str, str]) -> str:
    """SHA-256 of a job's settings and of the fingerprints of its inputs."""
    return hashlib.sha256(canonical([dict(settings), dict(inputs)]).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes; `sha256_known` returns it again until the file changes."""
    before = _stamp(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if _stamp(path) == before:
        _HASHED[before] = digest
    return digest


def sha256_known(path: Path) -> str | None:
    """The result of `sha256_file` in this process; None if it was not called or the file changed since."""
    return _HASHED.get(_stamp(path))


_HASHED: dict[tuple[int, ...], str] = {}


def _stamp(path: Path) -> tuple[int, ...]:
    """A value that changes when a file changes."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def machine_errors(where: Path) -> Iterator[None]:
    """Turn errors of the operating system into one clear `MachineError`, whichever library raised them."""
    try:
        yield
    except Exception as error:
        code = _system_error(error)
        if code not in REFUSALS:
            raise
        what, do = REFUSALS[code]
        raise MachineError(what, where=str(getattr(error, "filename", None) or where), do=do) from error


FREE_SPACE = "free some space and run the same command again; finished work is kept"
REFUSALS = {
    errno.ENOSPC: ("The disk is full", FREE_SPACE),
    errno.EDQUOT: ("The disk quota is used up", FREE_SPACE),
    errno.EFBIG: ("The file grew larger than the system allows", "raise the limit (ulimit -f) and run again"),
    errno.EACCES: ("This folder cannot be written", "choose another folder or change its permissions"),
    errno.EPERM: ("This folder cannot be written", "choose another folder or change its permissions"),
    errno.EROFS: ("This file system is read-only", "choose a folder on another file system"),
    errno.EEXIST: ("A file exists where a folder is needed", "move or rename it, or choose another folder"),
    errno.ENOTDIR: ("A file exists where a folder is needed", "move or rename it, or choose another folder"),
}


def _system_error(error: Exception) -> int:
    """The errno behind an error, 0 if there is none.

    Rust libraries have it in their message, torch has none.
    """
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"\(os error (\d+)\)", str(error))
    if found:
        return int(found.group(1))
    return errno.ENOSPC if "PytorchStreamWriter failed writing" in str(error) else 0


def make_folder(folder: Path) -> None:
    """Create a folder and its parents.

    Raises:
        MachineError: It cannot be created, with the system's reason.
    """
    with machine_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in REFUSALS:
                raise
            raise MachineError(
                f"This folder cannot be created: {error.strerror}",
                where=str(folder),
                do="choose another folder",
            ) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``.

    It is flushed and renamed if the block succeeds, else removed.
    """
    with machine_errors(path):
        make_folder(path.parent)
        partial = path.with_name(f".{path.name}.{this_host()}.{os.getpid()}{PARTIAL}")
        try:
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Json]:
    """The JSON object in a file; raises ArtifactError if it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(
            f"This file is damaged: {error}", where=str(path), do="remove its folder and run again"
        ) from error
    if not isinstance(value, dict):
        raise ArtifactError(
            "This file is damaged: not a JSON object", where=str(path), do="remove its folder and run again"
        )
    return value


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None if it is missing or unreadable, so that the job has to run."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    stamp = _stamp(path)
    if stamp not in _MANIFESTS:
        try:
            held = read_json(path)
            whole = held.pop(CHECKSUM, None) == fingerprint(held, {})
            _MANIFESTS[stamp] = Manifest(**held) if whole else None  # type: ignore[arg-type]
        except (ArtifactError, TypeError):
            _MANIFESTS[stamp] = None
    return _MANIFESTS[stamp]


_MANIFESTS: dict[tuple[int, ...], Manifest | None] = {}


def is_begun(folder: Path, mark: str) -> bool:
    """Whether a folder has unfinished work for a fingerprint."""
    progress = folder / PROGRESS
    return progress.is_file() and read_progress(progress) == mark


def begin(folder: Path, mark: str, *, parts: str = "") -> None:
    """Prepare a job's folder: keep it if its unfinished work has this fingerprint, else clear it.

    Partial files of dead processes are removed, see `remove_partial`.

    Args:
        folder: The job's folder.
        mark: Its fingerprint.
        parts: A pattern of files that contain their own fingerprint: they always stay, and the job's work
            removes those that are not its own. So a damaged manifest loses no part.
    """
    with machine_errors(folder):
        begun = is_begun(folder, mark)
        if folder.exists() and not begun:
            clear(folder, parts)
        remove_partial(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not begun:
            write_json(folder / PROGRESS, {"fingerprint": mark})


def clear(folder: Path, parts: str) -> None:
    """Remove everything in a folder except the files that match a pattern."""
    if not parts:
        shutil.rmtree(folder)
        return
    for path in list(folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.match(parts):
            path.unlink()


def remove_partial(folder: Path) -> None:
    """Remove partial files of dead processes from a folder and its subfolders.

    A process of this host is dead if its pid does not exist, or is ours, which an earlier process then had.
    Nothing is known of other hosts, so their files are removed if nothing was written to them for a day.
    """
    for partial in folder.rglob(f".*{PARTIAL}"):
        *_, host, pid, _ = ("", "", *partial.name.split("."))
        with suppress(FileNotFoundError):  # its process has just renamed or removed it
            if host == this_host() and pid.isdecimal():
                gone = int(pid) == os.getpid() or not is_running(int(pid))
            else:
                gone = time.time() - partial.stat().st_mtime > ABANDONED
            if gone:
                partial.unlink()


def read_progress(path: Path) -> str | None:
    """The fingerprint of an unfinished job; None if the note is unreadable."""
    try:
        return str(read_json(path).get("fingerprint"))
    except ArtifactError:
        return None


def finish(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, as the last file, and remove the progress note."""
    with machine_errors(folder):
        held: dict[str, Json] = asdict(manifest)
        write_json(folder / MANIFEST, held | {CHECKSUM: fingerprint(held, {})})
        (folder / PROGRESS).unlink(missing_ok=True)


def stamp_of(path: Path) -> list[int]:
    """A file's size and modification time in ns, which are cheap to compare."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder by relative path, without manifests and partial files."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    skip = {MANIFEST, PROGRESS}
    return {
        str(p.relative_to(folder)): sha256_file(p)
        for p in files
        if p.name not in skip and not p.name.endswith(PARTIAL)
    }
