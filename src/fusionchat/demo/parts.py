"""The parts of the demo on disk: the corpus and each model.

Each is made in a partial folder, renamed, then marked as done.

A part is done if and only if its folder exists and its note under ``.made`` has the fingerprint of everything
it depends on: seed, scale and the demo's own code. An interrupted part is made again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fusionchat.artifacts import fingerprint, machine_errors, read_json, sha256_file, sync_folder, write_json
from fusionchat.errors import ArtifactError

NOTES = ".made"


class Part(NamedTuple):
    """One part under the demo's root: ``folder`` is ``corpus`` or ``models/NAME``."""

    root: Path
    folder: str
    seed: int
    scale: float

    @property
    def path(self) -> Path:
        """The path of its folder."""
        return self.root / self.folder

    @property
    def note(self) -> Path:
        """The file that records that it is done, and for which fingerprint."""
        return self.root / NOTES / f"{self.path.name}.json"

    def fingerprint(self) -> str:
        """SHA-256 of what the part depends on."""
        here = Path(__file__).parent
        code = {str(path.relative_to(here)): sha256_file(path) for path in sorted(here.rglob("*.py"))}
        return fingerprint({"part": self.folder, "seed": self.seed, "scale": self.scale}, code)

    def is_made(self) -> bool:
        """Whether it exists, complete and up to date."""
        if not (self.path.is_dir() and self.note.is_file()):
            return False
        try:
            return read_json(self.note).get("fingerprint") == self.fingerprint()
        except ArtifactError:
            return False


@contextmanager
def making(part: Part) -> Iterator[Path]:
    """Yield an empty partial folder; if the block succeeds, it replaces the old one and is marked done."""
    partial = part.path.with_name(f".{part.path.name}.partial")
    with machine_errors(part.root):
        part.note.unlink(missing_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            shutil.rmtree(part.path, ignore_errors=True)
            partial.rename(part.path)
            sync_folder(part.path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        write_json(part.note, {"fingerprint": part.fingerprint()})
