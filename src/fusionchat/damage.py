"""Files of finished jobs, compared with the checksums in their manifests, and damaged ones removed."""

import shutil
from pathlib import Path

from fusionchat.artifacts import (
    MANIFEST,
    PROGRESS,
    Manifest,
    read_manifest,
    sha256_file,
    sha256_known,
    stamp_of,
    write_json,
)
from fusionchat.console import warn
from fusionchat.errors import DamagedError

DEEPEST = 3
"""The most levels between a file and its job's folder."""


def verified(path: Path) -> Path:
    """The path of a file, after comparing it with its checksum if a finished job wrote it.

    An unchanged file is read for that only once per process. Files of unfinished jobs and files that no job
    wrote have no checksum.

    Raises:
        DamagedError: The content is not what the job wrote.
    """
    job = _job_of(path.parent)
    if job is not None:
        folder, manifest = job
        _compare(path, folder, manifest.files.get(path.relative_to(folder).as_posix()))
    return path


def verified_folder(folder: Path, *, endings: tuple[str, ...] = ("",)) -> Path:
    """A folder, after checking that all its files are as its job wrote them; see `verified`.

    Args:
        folder: A job's folder, or one in it.
        endings: Check only files whose name ends with one of these.
    """
    job = _job_of(folder)
    if job is not None:
        root, manifest = job
        for name, digest in manifest.files.items():
            if (root / name).is_relative_to(folder) and name.endswith(endings):
                _compare(root / name, root, digest)
    return folder


def _job_of(folder: Path) -> tuple[Path, Manifest] | None:
    """The folder of the finished job that a folder belongs to, with its manifest."""
    for above in [folder, *folder.parents][:DEEPEST]:
        manifest = read_manifest(above)
        if manifest is not None:
            return above, manifest
    return None


def _compare(path: Path, folder: Path, digest: str | None) -> None:
    if digest is None:
        return
    if not path.is_file():
        raise DamagedError("This file is missing", path=path, folder=folder)
    if (sha256_known(path) or sha256_file(path)) != digest:
        raise DamagedError(
            "This file is damaged: its content has changed since it was written", path=path, folder=folder
        )


def faults(folder: Path, manifest: Manifest, *, verify: bool = False) -> dict[str, str]:
    """The changed files of a finished job, by relative path: ``missing`` or ``damaged``.

    A file is read only if its size is right but its time is not, as after a copy; with ``verify``, every file
    is read.
    """
    found = {}
    for name, digest in manifest.files.items():
        path, stamp = folder / name, manifest.stamps.get(name)
        if not path.is_file():
            found[name] = "missing"
            continue
        now = stamp_of(path)
        if stamp is not None and now[0] != stamp[0]:
            found[name] = "damaged"
        elif verify or (stamp is not None and now != stamp):
            try:
                _compare(path, folder, digest)
            except DamagedError:
                found[name] = "damaged"
    return found


def damaged_files(folder: Path, manifest: Manifest, *, verify: bool = False) -> list[DamagedError]:
    """`faults` as errors."""
    found = faults(folder, manifest, verify=verify)
    return [DamagedError(f"This file is {how}", path=folder / n, folder=folder) for n, how in found.items()]


def make_again(error: DamagedError, *, keep: str = "") -> None:
    """Warn that a file is damaged, and `discard` it, so that its job makes it again."""
    warn(f"{error.path}: {error.what[0].lower()}{error.what[1:]}. It will be made again.")
    discard(error, keep=keep)


def discard(error: DamagedError, *, keep: str = "") -> None:
    """Remove a damaged file, so that its job runs again; intact files that match ``keep`` stay.

    The job continues from these, as it does after a kill.
    """
    manifest = read_manifest(error.folder)
    if not keep:
        shutil.rmtree(error.folder, ignore_errors=True)
        return
    error.path.unlink(missing_ok=True)
    if manifest is not None:
        for name, digest in manifest.files.items():
            path = error.folder / name
            if path.is_file() and not (path.match(keep) and sha256_file(path) == digest):
                path.unlink()
        write_json(error.folder / PROGRESS, {"fingerprint": manifest.fingerprint})
        (error.folder / MANIFEST).unlink()
