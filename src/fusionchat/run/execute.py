"""One job is executed here: begun, worked on, finished. The manifest is written last."""

import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from fusionchat.artifacts import (
    Manifest,
    begin,
    checksums,
    finish,
    machine_errors,
    stamp_of,
)
from fusionchat.console import working
from fusionchat.run.job import Context, Inputs, Job, Stage, Summary
from fusionchat.threads import set_threads

PACKAGES = ("fusionchat", "torch", "transformers", "tokenizers", "numpy", "numba")


def make(job: Job, run: Path, stages: Mapping[str, Stage], ctx: Context) -> None:
    """Begin a job, do its work here, and finish it; its lease must be held."""
    folder = run / job.id
    begin(folder, job.fingerprint, parts=job.parts)
    started = time.monotonic()
    summary = do_work(job, run, stages, ctx)
    write_manifest(job, folder, summary, time.monotonic() - started)


def do_work(job: Job, run: Path, stages: Mapping[str, Stage], ctx: Context) -> Summary:
    """Do a job's work here, in the folder that was begun for it."""
    folder = run / job.id
    set_threads(job.resources.threads)
    with machine_errors(folder), working(job.label):
        return stages[job.stage].work(job.settings, Inputs(run, job), folder, ctx)


def write_manifest(job: Job, folder: Path, summary: Summary, seconds: float) -> None:
    """Finish a job whose work is done."""
    files = {
        name: digest for name, digest in checksums(folder).items() if Path(name).name not in job.rewritten
    }
    finish(
        folder,
        Manifest(
            fingerprint=job.fingerprint,
            settings=job.hashed,
            inputs=job.inputs,
            files=files,
            versions={name: version(name) for name in PACKAGES},
            seconds=round(seconds, 3),
            summary=summary,
            version=job.version,
            stamps={name: stamp_of(folder / name) for name in files},
        ),
    )
