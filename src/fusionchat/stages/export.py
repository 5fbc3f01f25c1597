"""Distributions of a run as files for other trainers; existing files are not written again."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fusionchat.artifacts import read_json, write_json, write_text
from fusionchat.console import progress
from fusionchat.errors import ArtifactError
from fusionchat.represent.export import FORMATS
from fusionchat.represent.export.base import part_path, write_part
from fusionchat.represent.store.cut import cut
from fusionchat.stages.stored import open_stored, stored_jobs

ROWS = 2**17
"""Approximate number of supervised tokens of a file."""
ABOUT = "fusionchat_export.json"


class Exported(NamedTuple):
    """What was written of a job: its folder, and its numbers of conversations and supervised tokens."""

    job: str
    folder: Path
    conversations: int
    rows: int
    without: int
    """Rows that have no distribution (not aligned)."""


def export(run: Path, form: str, out: Path, jobs: Sequence[str] = ()) -> list[Exported]:
    """Write the distributions of some jobs, each to its folder in ``out``.

    Args:
        run: The run's folder.
        form: A name of `FORMATS`.
        out: The folder to write to.
        jobs: Their ids; by default all finished jobs of ``fuse``.

    Raises:
        ArtifactError: A job is not done or has no distributions, or ``out`` has an export of something else.
    """
    chosen = list(jobs) or stored_jobs(run, "fuse")
    if not chosen:
        raise ArtifactError(
            "This run has no fused distributions yet",
            where=str(run),
            do="run `fusionchat fuse` with its recipe, or name a job with --job (as `fusionchat plan` lists it)",
        )
    return [export_job(run, job, form, out / job) for job in chosen]


def export_job(run: Path, job: str, form: str, folder: Path) -> Exported:
    """Write the distributions of one job; existing files are kept."""
    stored, written = open_stored(run, job), FORMATS[form]
    about = stored.about()
    held = {"format": form, **vars(about)}
    require_same(folder, held)
    ranges = cut(stored.rendered.offsets, ROWS)
    write_json(folder / ABOUT, held)
    for name, text in written.notes(about).items():
        write_text(folder / name, text)
    with progress(f"export {job}", len(stored.conversations), "conversations") as advance:
        for index, members in enumerate(ranges):
            path = part_path(folder, index, len(ranges))
            if not path.is_file():
                write_part(path, stored.examples(members), written, about)
            advance(len(members))
    store = stored.store
    return Exported(job, folder, len(store), store.rows, store.without)


def require_same(folder: Path, held: dict[str, object]) -> None:
    """Check that a folder is empty or has this export.

    Raises:
        ArtifactError: It has something else.
    """
    path = folder / ABOUT
    if not folder.exists() or (path.is_file() and read_json(path) == held):
        return
    what = "an export of other distributions" if path.is_file() else "something else"
    raise ArtifactError(
        f"This folder holds {what}", where=str(folder), do="remove it, or choose another --output"
    )
