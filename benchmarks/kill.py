"""Captures killed at random moments: each run that ends has the bits of an undisturbed one.

    python -m benchmarks.kill [--times 50]

The demo's three models at a small scale are captured in shards of 64 rows by the coordinator, as `fusionchat run` starts it,
in a process that gets SIGKILL. Every other kill is at a moment drawn evenly from the length of an undisturbed run; the rest are
drawn from the time in which it writes shards and manifests. The next process goes on. When one ends, the files are compared with
those of the undisturbed run, the captures are removed, and the next begins anew. A shard that was whole at a kill has to be the
same file afterwards: a kill loses the shard in work and no other.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch  # noqa: F401 (loaded here, so that a process that is forked need not)
from transformers import AutoTokenizer, LlamaForCausalLM, MixtralForCausalLM, Qwen2ForCausalLM  # noqa: F401

from fusionchat.artifacts import sha256_file
from fusionchat.demo.make import make_demo
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent.store.layout import SHARDS
from fusionchat.stages.pipeline import run
from fusionchat.yaml import to_yaml

ROWS, SCALE = 64, 0.03
CAPTURES = "runs/killed/represent"


class Outcome(NamedTuple):
    """What became of the kills.

    Attributes:
        kills: Processes killed at work.
        ends: Runs that ended in between and after them.
        equal: Of these, those with the bits of the undisturbed run.
        shards: Shards of a run.
        kept: Whole shards at the kills, all of them together.
        lost: Of these, those that were made again.
    """

    kills: int
    ends: int
    equal: int
    shards: int
    kept: int
    lost: int

    def __str__(self) -> str:
        """In one line."""
        return (
            f"kills: {self.kills}; runs that ended: {self.ends}, with the bits of an undisturbed one: {self.equal}; "
            f"shards of a run: {self.shards}; whole at a kill: {self.kept}, made again: {self.lost}"
        )


def make_input(folder: Path) -> None:
    """The demo's models and corpus at a small scale, and a recipe."""

    @contextmanager
    def silent(_label: str, _total: int | None):
        yield lambda _count: None

    make_demo(folder / "input", seed=0, scale=SCALE, progress=silent)
    recipe = {
        "name": "killed",
        "pivot": {"model": "input/models/pivot"},
        "sources": {name: {"model": f"input/models/{name}"} for name in ("mixtral", "qwen")},
        "corpus": {part: f"input/corpus/{part}.jsonl" for part in ("train", "validation", "test")},
        "represent": {"compression": "zstd"},
        "runtime": {"device": "cpu", "threads": 1},
    }
    (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")


def capture(folder: Path) -> None:
    """Run the recipe as far as the captures, in this process."""
    os.chdir(folder)
    with (folder / "log").open("a") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
        with patch("fusionchat.stages.represent.shard_rows", lambda _: ROWS):
            run(load_recipe("recipe.yaml"), until="represent")


def started(folder: Path, what: str = "fork") -> BaseProcess:
    """A process that runs it: forked, so that it need not load torch again."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=capture if what == "fork" else make_input, args=(folder,))
    process.start()
    return process


def bits(folder: Path) -> dict[str, str]:
    """SHA-256 of every shard that is there."""
    root = folder / CAPTURES
    return {str(path.relative_to(root)): sha256_file(path) for path in sorted(root.rglob(SHARDS))}


def stamps(folder: Path) -> dict[str, int]:
    """When every shard that is there was written."""
    root = folder / CAPTURES
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob(SHARDS)}


class Undisturbed(NamedTuple):
    """A run that nobody kills: its bits, its seconds, and those from its first shard on."""

    bits: dict[str, str]
    length: float
    writing: float


def undisturbed(folder: Path) -> Undisturbed:
    """Run it twice: the corpus is made by the first, and stays."""
    started(folder).join()
    shutil.rmtree(folder / CAPTURES)
    begun, process = time.monotonic(), started(folder)
    wait_for_shard(folder, process, {})
    first = time.monotonic()
    process.join()
    ended, good = time.monotonic(), bits(folder)
    assert process.exitcode == 0 and good, (folder / "log").read_text()
    return Undisturbed(good, ended - begun, ended - first)


def wait_for_shard(folder: Path, process: BaseProcess, held: dict[str, int]) -> None:
    """Wait until there is a shard that was not there before, or the process has ended."""
    while process.is_alive() and not stamps(folder).keys() - held.keys():
        time.sleep(0.002)


def killed(times: int) -> Outcome:
    """Kill captures that many times; see the module."""
    rng, held = random.Random(0), dict[str, int]()
    kills = ends = equal = kept = lost = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started(folder, "input").join()
        good = undisturbed(folder)
        shutil.rmtree(folder / CAPTURES)
        unfinished = True
        while kills < times or unfinished:
            process = started(folder)
            if kills % 2:
                wait_for_shard(folder, process, held)
            process.join(
                rng.uniform(0, good.writing if kills % 2 else good.length) if kills < times else None
            )
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            now = stamps(folder)
            lost += sum(now.get(shard) != stamp for shard, stamp in held.items())
            if process.exitcode == -signal.SIGKILL:
                kills, kept, held, unfinished = kills + 1, kept + len(now), now, True
                continue
            assert process.exitcode == 0, (folder / "log").read_text()[-2000:]
            ends, equal, held, unfinished = ends + 1, equal + (bits(folder) == good.bits), {}, False
            shutil.rmtree(folder / CAPTURES)
    return Outcome(kills, ends, equal, len(good.bits), kept, lost)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=50)
    outcome = killed(parser.parse_args().times)
    print(outcome)
    sys.exit(outcome.equal < outcome.ends or outcome.lost > 0)


if __name__ == "__main__":
    main()
