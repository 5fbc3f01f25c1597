"""SHA-256 of a merge's inputs, as far as known without reading them again.

Others are computed only on request, since that costs a read. A checksum is known in four ways, each named in
the report:

- ``read``: this process has read the whole file since it last changed;
- ``manifest.json``: the file is an artifact of a run;
- ``merge_weights.json``: the file was merged by FusionChat;
- ``hub cache``: the file is a link to a blob that is named by the hub's own checksum of it.

A record is valid only for a file that did not change after the record was written. The modification time
alone does not show that (``mv`` and ``cp -p`` keep it): the inode's last change, which a rename counts as,
must be no later than the record either, for the file and the folders between it and the record. So a copied
or linked file may count as unknown.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fusionchat.artifacts import MANIFEST, read_manifest, sha256_file, sha256_known
from fusionchat.merge.inputs.stored import MappedFile
from fusionchat.merge.stream.result import REPORT, InputFile, report_of

READ, HUB = "read", "hub cache"
_BLOB = re.compile(r"[0-9a-f]{64}")


class Known(NamedTuple):
    """A file's SHA-256, and where it comes from."""

    sha256: str
    source: str


class Record(NamedTuple):
    """A record of a folder's files: their SHA-256 by relative path, and when it was written, in ns."""

    source: str
    folder: Path
    files: Mapping[str, str]
    written: int

    def tells(self, path: Path) -> str | None:
        """The SHA-256 of a file; None if there is none or something changed after the record was written."""
        name = path.relative_to(self.folder)
        digest = self.files.get(str(name))
        places = [path, *(self.folder / part for part in name.parents if part.parts)]
        seen = [status for place in places for status in (place.stat(), place.lstat())]
        unchanged = max(max(s.st_mtime_ns, s.st_ctime_ns) for s in seen) <= self.written
        return digest if unchanged else None


def describe_files(files: Iterable[MappedFile], *, compute: bool = False) -> dict[str, InputFile]:
    """Size of every file by name, and its SHA-256 with its source, if known."""
    described: dict[str, InputFile] = {}
    records: dict[Path, list[Record]] = {}
    for file in files:
        folder = file.path.parent
        if folder not in records:
            records[folder] = list(records_of(folder))
        known = known_hash(file.path, records[folder])
        if known is None and compute:
            known = Known(sha256_file(file.path), READ)
        described[file.path.name] = InputFile(file.size, *(known or ()))
    return described


def known_hash(path: Path, records: Iterable[Record]) -> Known | None:
    """A file's SHA-256 without reading it; None if it is not known for certain."""
    digest = sha256_known(path)
    if digest is not None:
        return Known(digest, READ)
    blob = path.resolve()
    if path.is_symlink() and blob.parent.name == "blobs" and _BLOB.fullmatch(blob.name):
        return Known(blob.name, HUB)
    told = ((record.tells(path), record.source) for record in records)
    return next((Known(digest, source) for digest, source in told if digest is not None), None)


def records_of(folder: Path) -> Iterator[Record]:
    """The records that may describe a model folder's files: its run's manifest, and its merge's report."""
    for job in (folder, folder.parent):
        manifest = read_manifest(job)
        if manifest is not None:
            yield Record(MANIFEST, job, manifest.files, (job / MANIFEST).stat().st_mtime_ns)
    report = report_of(folder)
    if report is not None:
        yield Record(REPORT, folder, report.files, (folder / REPORT).stat().st_mtime_ns)
