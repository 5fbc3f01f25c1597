"""A run on a Ray cluster of this machine beside one without: its bits, what Ray costs, two workers beside one, nodes killed.

    python -m benchmarks.cluster [--quick]

The demo's three models at a small scale. The program starts its clusters itself, nodes with one CPU each; the extra `ray` must be
installed. A JSON line for each step on stderr, and in the last line:

- ``same_bits``: whether all runs, the disturbed ones too, end with the bits of the local one;
- ``ray_overhead_s``, ``ray_overhead_share``: what the run takes longer on one node than in this process;
- ``speedup_2_workers``: shards a second of one capture while two workers of one thread are at work, by those of one worker;
  ``bare_speedup_2``: the same of bare forward passes in two processes;
- ``kills``: nodes killed at work, in each kind of stage, and in a training of two ranks: with ``--quick`` once, and the run
  then ends with that stage; else three times, and it goes on to its end; and how often the bits were the same all the same;
- ``shards_redone``: shards that a second attempt has made on another node.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks.cluster_nodes import add_node, cluster, kill_node
from benchmarks.cluster_speed import speedups
from benchmarks.kill import make_input
from fusionchat.artifacts import read_manifest, sha256_file
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.engine.ray.cluster import joined
from fusionchat.run.live import at_work
from fusionchat.stages.pipeline import open_run, run, run_job

STAGES = ("corpus", "represent", "align", "fuse", "distill", "merge", "evaluate")
UNDER_WAY = {"represent": "shard-*", "distill": "checkpoint-*"}
"""What such a job leaves soon: its node is killed when that is there, and at once where a job leaves nothing."""
ROWS, TRIES = 64, 5
SETTINGS = (
    "corpus.max_tokens=96", "represent.k=5", "distill.epochs=1", "distill.batch_size=8", "distill.precision=fp32",
    "fused.dtype=float32", "compare.sft=true", "compare.sft_seeds=1", "runtime.micro_batch_tokens=256",
    "runtime.checkpoint_steps=1",
)  # fmt: skip
RANKS = "runtime.training.processes=2"
Say = Callable[[dict[str, Any]], None]


class Kill(NamedTuple):
    """What became of a run one of whose nodes was killed.

    Attributes:
        hit: Whether work was lost: somebody has begun it again.
        same_bits: Whether the run has the bits of the undisturbed one.
        redone: Shards made by a second attempt, on another node.
        nodes: Nodes that made shards.
    """

    hit: bool
    same_bits: bool
    redone: int
    nodes: int


def recipe(name: str, *more: str, on: Any = None) -> Any:
    """The recipe under a name of its own, on a cluster where one is given."""
    engine: tuple[str, ...] = ()
    if on is not None:
        engine = ("runtime.engine=ray", f"runtime.ray.address={on.address}", "runtime.ray.patience=600")
    return load_recipe("recipe.yaml", (*SETTINGS, f"name={name}", *engine, *more))


def bits(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that has to be the same twice."""
    return {
        str(path.relative_to(folder)): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (path.suffix in (".safetensors", ".jsonl") or path.name == "scores.json")
        if path.name != "metrics.jsonl" and "jobs" not in path.relative_to(folder).parts
    }


def timed(what: Any) -> float:
    """Seconds that a run takes."""
    begun = time.monotonic()
    run(what)
    return time.monotonic() - begun


def disturbed(on: Any, stage: str, local: Path, name: str, *, whole: bool) -> Kill:
    """A run in which a node dies that works on a stage; what is before that stage is the local run's."""
    folder = copied(local, name, STAGES[STAGES.index(stage) :])
    jobs = [job.id for job in open_run(recipe(name, on=on)).jobs.values() if job.stage == stage]
    dead = killing(on, folder, jobs, lambda: run(recipe(name, on=on), until=None if whole else stage))
    mine, theirs = bits(folder), bits(local)
    same = bool(mine) and all(theirs.get(path) == digest for path, digest in mine.items())
    return outcome(folder, jobs, dead, same and (not whole or len(mine) == len(theirs)))


def in_ranks(on: Any, local: Path, job_id: str, name: str) -> Kill:
    """A training in two ranks, one on each node, one of which dies; beside two ranks that this machine starts without Ray."""
    alone, folder = copied(local, f"{name}-local", ()), copied(local, name, ())
    for one in (alone, folder):
        shutil.rmtree(one / job_id)
    run_job(recipe(alone.name, RANKS), job_id)
    dead = killing(on, folder, [job_id], lambda: run_job(recipe(name, RANKS, on=on), job_id))
    manifest, mine = read_manifest(folder / job_id), bits(folder / job_id)
    in_two = manifest is not None and manifest.summary["processes"] == 2
    return outcome(folder, [job_id], dead, in_two and bool(mine) and mine == bits(alone / job_id))


def copied(local: Path, name: str, without: tuple[str, ...]) -> Path:
    """A copy of a run under another name, without the jobs of some stages."""
    folder = local.parent / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(local, folder, ignore=lambda at, _: ["jobs", *without] if Path(at) == local else [])
    return folder


def killing(on: Any, folder: Path, jobs: list[str], work: Callable[[], object]) -> str:
    """Do work while the first node dies that is under way with one of the jobs; another takes its place. Returns the dead.

    The work has a thread of its own: Ray starts nodes in the main thread alone.
    """
    dead = ""
    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(work)
        while not done.done() and not dead:
            dead = next((node for job in jobs if (node := struck(on, folder, job))), "")
            time.sleep(0.005)
        if dead:
            add_node(on)
        done.result()
    return dead


def struck(on: Any, folder: Path, job: str) -> str:
    """The node that was killed because it was under way with a job; "" for none."""
    mark = UNDER_WAY.get(job.partition("/")[0])
    if mark is None or any((folder / job).rglob(mark)):
        for live in at_work(folder, job)[:1]:
            if kill_node(on, live.node):
                return live.node
    return ""


def outcome(folder: Path, jobs: list[str], dead: str, same: bool) -> Kill:
    """What the manifests of a disturbed run say of it; its folder is removed."""
    made = [manifest.made for job in jobs if (manifest := read_manifest(folder / job)) is not None]
    shards = [who for one in made for who in one.get("shards", {}).values()]  # type: ignore[union-attr]
    again = [who for who in shards if who["attempt"] > 1 and who["node"] != dead]  # type: ignore[index, call-overload, operator]
    hit = bool(dead) and any(who["attempt"] > 1 for who in [*made, *shards])  # type: ignore[index, call-overload, operator]
    nodes = {who["node"] for who in shards}  # type: ignore[index, call-overload]
    shutil.rmtree(folder)
    return Kill(hit, same, len(again), len(nodes))


def kills(local: Path, times: int, say: Say) -> list[Kill]:
    """Kill a node in each kind of stage and in a training of ranks, until it has lost work."""
    found = []
    with cluster(2, idle_head=True) as on, joined(recipe("any", on=on).runtime.ray):
        training = next(job for job in open_run(recipe(local.name)).jobs if job.startswith("distill/"))
        work: dict[str, Callable[[str], Kill]] = {
            stage: lambda name, stage=stage: disturbed(on, stage, local, name, whole=times > 1)  # type: ignore[misc]
            for stage in STAGES
        }
        work["ranks"] = lambda name: in_ranks(on, local, training, name)
        for number in range(times):
            for kind, kill in work.items():
                for attempt in range(TRIES):
                    begun, one = time.monotonic(), kill(f"{kind}-{number}-{attempt}")
                    say({"kind": kind, **one._asdict(), "seconds": round(time.monotonic() - begun, 1)})
                    found.append(one)
                    if one.hit:
                        break
    return found


def measure(times: int, say: Say) -> dict[str, Any]:
    """All figures."""
    with patch("fusionchat.stages.represent.shard_rows", lambda _: ROWS):
        timed(recipe("warm"))
        alone = timed(recipe("local"))
        local = recipe("local").run_folder
        with cluster(1) as on:
            there = timed(recipe("ray", on=on))
        same = bits(recipe("ray").run_folder) == bits(local)
        say({"local_s": round(alone, 1), "ray_s": round(there, 1), "same_bits": same})
        found = kills(local, times, say)
    with patch("fusionchat.stages.represent.shard_rows", lambda _: 5 * ROWS):
        workers, plain = speedups(recipe)
    hits = [one for one in found if one.hit]
    return {
        "same_bits": same and all(one.same_bits for one in found),
        "ray_overhead_s": round(there - alone, 1),
        "ray_overhead_share": round((there - alone) / alone, 2),
        "speedup_2_workers": round(workers, 2),
        "bare_speedup_2": round(plain, 2),
        "kills": {"made": len(hits), "survived": sum(one.same_bits for one in hits)},
        "shards_redone": sum(one.redone for one in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one kill in each kind of stage instead of three"
    )
    times = 1 if parser.parse_args().quick else 3
    with tempfile.TemporaryDirectory() as name:
        make_input(Path(name))
        os.chdir(name)
        found = measure(times, lambda line: print(json.dumps(line), file=sys.stderr, flush=True))
        os.chdir("/")
    print(json.dumps(found))
    sys.exit(not found["same_bits"] or found["kills"]["made"] < times * (len(STAGES) + 1))


if __name__ == "__main__":
    main()
