"""What the verbs with a recipe share: load it, run it up to a stage, and report what was done."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.units import counted

if TYPE_CHECKING:
    from fusionchat.recipe.schema import Recipe
    from fusionchat.run.job import Job, Status
    from fusionchat.run.plan import Run


def load(path: Path, settings: tuple[str, ...]) -> "Recipe":
    """The recipe with settings applied."""
    from fusionchat.recipe.schema import load_recipe

    return load_recipe(path, settings)


def run_stage(
    recipe: "Recipe", until: str | None, then: "Callable[[Run], None] | None" = None, *, verify: bool = False
) -> "Run":
    """Run a recipe up to a stage and print what is done and begun; returns the run.

    ``then`` is called with the finished run.
    """
    from fusionchat import console
    from fusionchat.stages.pipeline import run as run_pipeline

    kept: list[str] = []

    def announce(job: "Job", status: "Status") -> None:
        if status.state == "done":
            kept.append(job.id)
            return
        if kept:
            console.say(f"  {kept_jobs(len(kept))}", style="dim")
            kept.clear()
        why = f" ({status.state}: {'; '.join(status.changed[:2])})" if status.changed else ""
        if status.state == "begun":
            why = f" (continues: {status.so_far})" if status.so_far else " (starts over)"
        console.say(f"{job.id}{why}", style="bold")

    def finished(run: "Run") -> None:
        if kept:
            console.say(f"  {kept_jobs(len(kept))}", style="dim")
            kept.clear()
        if then is not None:
            then(run)

    return run_pipeline(recipe, until=until, announce=announce, then=finished, verify=verify)


def run_one(recipe: "Recipe", job_id: str) -> None:
    """Run one job of a recipe whose needs are done."""
    from fusionchat import console
    from fusionchat.stages.pipeline import run_job

    def announce(job: "Job", status: "Status") -> None:
        console.say(f"{job.id} is done" if status.state == "done" else job.id, style="bold")

    run_job(recipe, job_id, announce)


def kept_jobs(count: int) -> str:
    """The line about jobs that need not run."""
    return f"{counted(count, 'job')} {'was' if count == 1 else 'were'} done before and {'is' if count == 1 else 'are'} kept"


def finish(recipe: "Recipe", *, verify: bool = False) -> None:
    """Run all of a recipe, and print the results and the next commands."""
    from fusionchat import console
    from fusionchat.stages.report import show

    done = run_stage(recipe, None, then=show, verify=verify)
    console.say(f"\nRun: {done.folder}   Report: {done.folder / 'report' / 'report' / 'report.html'}")
    console.say(f"Next: {program()} chat {done.folder}", style="bold")


def program() -> str:
    """The command for this program: its name if the shell finds it, else the path that it was called by."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "fusionchat" and shutil.which("fusionchat") is None else "fusionchat"
