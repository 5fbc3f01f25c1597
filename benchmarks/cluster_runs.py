"""Runs of the benchmark's recipe: here, on a cluster, copied, and their bits."""

import shutil
import time
from pathlib import Path
from typing import Any

from fusionchat.artifacts import sha256_file
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.pipeline import run

SETTINGS = (
    "corpus.max_tokens=96", "represent.k=5", "distill.epochs=1", "distill.batch_size=8", "distill.precision=fp32",
    "fused.dtype=float32", "compare.sft=true", "compare.sft_seeds=1", "runtime.micro_batch_tokens=256",
    "runtime.checkpoint_steps=1",
)  # fmt: skip


def recipe(name: str, *more: str, on: Any = None) -> Any:
    """The recipe under a name of its own, on a cluster where one is given."""
    engine: tuple[str, ...] = ()
    if on is not None:
        engine = ("runtime.engine=ray", f"runtime.ray.address={on.address}", "runtime.ray.patience=600")
    return load_recipe("recipe.yaml", (*SETTINGS, f"name={name}", *engine, *more))


def timed(what: Any) -> float:
    """Seconds that a run takes."""
    shutil.rmtree(what.run_folder, ignore_errors=True)
    begun = time.monotonic()
    run(what)
    return time.monotonic() - begun


def copied(local: Path, name: str, without: tuple[str, ...]) -> Path:
    """A copy of a run under another name, without the jobs of some stages."""
    folder = local.parent / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(local, folder, ignore=lambda at, _: ["jobs", *without] if Path(at) == local else [])
    return folder


def bits(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that has to be the same twice."""
    return {
        str(path.relative_to(folder)): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (path.suffix in (".safetensors", ".jsonl") or path.name == "scores.json")
        if path.name != "metrics.jsonl" and "jobs" not in path.relative_to(folder).parts
    }
