"""A run on a Ray cluster of this machine beside one without: its bits, what Ray costs, two workers beside one, nodes killed.

    python -m benchmarks.cluster [--quick]

The demo's three models at a small scale. The program starts its clusters itself, nodes with one CPU each. JSON in the last line:

- ``same_bits``: whether all runs, the disturbed ones too, end with the bits of the local one;
- ``ray_overhead_s``, ``ray_overhead_share``: what the run takes longer on one node than in this process;
- ``speedup_2_workers``: shards a second of one capture while two workers of one thread are at work, by those of one worker;
  ``bare_speedup_2``: the same of bare forward passes in two processes;
- ``kills``: nodes killed, one in each kind of stage with ``--quick``, which then ends with that stage, else three; and how often
  the bits were the same all the same;
- ``shards_redone``: shards that a later attempt has made.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.kill import make_input
from fusionchat.artifacts import read_manifest, sha256_file
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.attempts import attempts
from fusionchat.run.live import at_work
from fusionchat.stages.pipeline import open_run, run

NODE: dict[str, Any] = {
    "num_cpus": 1, "object_store_memory": 75 * 2**20, "memory": 8 * 10**9, "include_dashboard": False,
}  # fmt: skip
STAGES = ("corpus", "represent", "align", "fuse", "distill", "merge", "evaluate")
ROWS, COPIES, BARE_S = 64, 12, 12.0
SETTINGS = (
    "corpus.max_tokens=96", "represent.k=5", "distill.epochs=1", "distill.batch_size=8", "distill.precision=fp32",
    "fused.dtype=float32", "compare.sft=true", "compare.sft_seeds=1", "runtime.micro_batch_tokens=256",
    "runtime.checkpoint_steps=1",
)  # fmt: skip


@contextmanager
def cluster(nodes: int, *, idle_head: bool = False) -> Iterator[Any]:
    """A Ray cluster of this machine; with ``idle_head`` its head has no CPU, so that every job is on a node that can die."""
    from ray.cluster_utils import Cluster

    os.environ.update({"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"})
    head = {**NODE, "no_monitor": True, "include_log_monitor": False}
    made = Cluster(initialize_head=True, head_node_args={**head, **({"num_cpus": 0} if idle_head else {})})
    try:
        for _ in range(nodes - (not idle_head)):
            made.add_node(**NODE)
        yield made
    finally:
        made.shutdown()


def recipe(name: str, *more: str, on: Any = None) -> Any:
    """The recipe under a name of its own, on a cluster where one is given."""
    engine = () if on is None else ("runtime.engine=ray", f"runtime.ray.address={on.address}")
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


def redone(folder: Path) -> int:
    """Shards of a run that a later attempt has made."""
    found = [read_manifest(path) for path in (folder / "represent").iterdir()]
    shards = [who for one in found if one is not None for who in one.made.get("shards", {}).values()]  # type: ignore[union-attr]
    return sum(who["attempt"] > 1 for who in shards)  # type: ignore[index, call-overload]


def killed(on: Any, stage: str, local: Path, name: str, *, whole: bool) -> tuple[bool, bool, int]:
    """A run in which the node dies that works on a stage: whether it was killed, the bits are the same, shards made again."""
    folder = local.parent / name
    shutil.copytree(local, folder)
    shutil.rmtree(folder / "jobs")
    planned = open_run(recipe(name, on=on))
    ahead = STAGES[STAGES.index(stage) :]
    for job in planned.jobs.values():
        if job.stage in ahead:
            shutil.rmtree(folder / job.id, ignore_errors=True)
    jobs = [job.id for job in planned.jobs.values() if job.stage == stage]
    made, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.is_set() and not made.is_set():
            for job in jobs:
                for live in at_work(folder, job):
                    if kill_node(on, live.node):
                        made.set()
                        return
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run(recipe(name, on=on), until=None if whole else stage)
    finally:
        over.set()
        watcher.join()
    mine, theirs = bits(folder), bits(local)
    same, again = (
        bool(mine) and all(theirs.get(path) == digest for path, digest in mine.items()),
        redone(folder),
    )
    same &= not whole or len(mine) == len(theirs)
    shutil.rmtree(folder)
    return made.is_set(), same, again


def kill_node(on: Any, name: str) -> bool:
    """Kill the node that has a name and start another in its place; the head, which this process needs, is left alone."""
    for node in list(on.worker_nodes):
        if name.endswith(node.node_id[:6]):
            on.remove_node(node, allow_graceful=False)
            on.add_node(**NODE)
            return True
    return False


def many_conversations() -> None:
    """A training part with the demo's conversations several times, each time with another first word."""
    lines = Path("input/corpus/train.jsonl").read_text(encoding="utf-8").splitlines()
    with Path("input/corpus/many.jsonl").open("w", encoding="utf-8") as file:
        for copy in range(COPIES):
            for line in lines:
                held = json.loads(line)
                held.pop("id", None)
                for message in held["messages"]:
                    message["content"] = f"{copy} {message['content']}"
                file.write(json.dumps(held) + "\n")


def shards_a_second(folder: Path, workers: int) -> float:
    """Shards of a capture a second while all of its workers are at work."""
    planned = open_run(recipe(folder.name, "corpus.train=input/corpus/many.jsonl"))
    job = planned.jobs["represent/qwen"]
    done = [
        one
        for one in attempts(folder, job.id, job.fingerprint)
        if one.shard is not None and one.seconds is not None
    ]
    own = {
        process: [one for one in done if one.process == process] for process in {one.process for one in done}
    }
    if len(own) < workers:
        return float("nan")
    start = max(min(one.began for one in held) for held in own.values())
    end = min(max(one.began + (one.seconds or 0) for one in held) for held in own.values())
    return sum(start <= one.began and one.began + (one.seconds or 0) <= end for one in done) / (end - start)


def passes(seconds: float, made: Any) -> None:
    """Forward passes of the capture's model until the time is over."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained("input/models/qwen").eval()
    ids = torch.randint(0, 100, (8, 96))
    with torch.inference_mode():
        model(ids)
        until, count = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            model(ids)
            count += 1
    made.put(count)


def bare(workers: int) -> int:
    """Forward passes of some processes at once."""
    context = multiprocessing.get_context("spawn")
    made = context.Queue()
    processes = [context.Process(target=passes, args=(BARE_S, made)) for _ in range(workers)]
    for process in processes:
        process.start()
    counts = [made.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(counts)


def speedup() -> tuple[float, float]:
    """Of two workers over one: a capture on the cluster, and bare forward passes."""
    many_conversations()
    rates = []
    for nodes in (1, 2):
        with cluster(nodes) as on, patch("fusionchat.stages.represent.shard_rows", lambda _: 20 * ROWS):
            name = f"many-{nodes}"
            planned = recipe(
                name,
                "corpus.train=input/corpus/many.jsonl",
                "sources={qwen: {model: input/models/qwen}}",
                on=on,
            )
            run(planned, until="represent")
            rates.append(shards_a_second(planned.run_folder, nodes))
    one, two = bare(1), bare(2)
    return rates[1] / rates[0], two / one


def measure(times: int, say: Any) -> dict[str, Any]:
    """All figures."""
    found: dict[str, Any] = {}
    with patch("fusionchat.stages.represent.shard_rows", lambda _: ROWS):
        timed(recipe("warm"))
        alone = timed(recipe("local"))
        local = recipe("local").run_folder
        with cluster(1) as on:
            there = timed(recipe("ray", on=on))
        same = [bits(recipe("ray").run_folder) == bits(local)]
        found |= {
            "ray_overhead_s": round(there - alone, 1),
            "ray_overhead_share": round((there - alone) / alone, 2),
        }
        say(found)
        kills, survived, shards = 0, 0, redone(recipe("ray").run_folder)
        with cluster(2, idle_head=True) as on:
            for number in range(times):
                for stage in STAGES:
                    made, good, again = killed(on, stage, local, f"{stage}-{number}", whole=times > 1)
                    kills, survived, shards = kills + made, survived + (made and good), shards + again
                    same.append(good)
                    say({"stage": stage, "killed": made, "same_bits": good, "shards_redone": again})
    workers, plain = speedup()
    return {
        "same_bits": all(same),
        **found,
        "speedup_2_workers": round(workers, 2),
        "bare_speedup_2": round(plain, 2),
        "kills": {"made": kills, "survived": survived},
        "shards_redone": shards,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one kill in each kind of stage instead of three"
    )
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        make_input(Path(name))
        os.chdir(name)
        found = measure(1 if quick else 3, lambda line: print(json.dumps(line), file=sys.stderr, flush=True))
        os.chdir("/")
    print(json.dumps(found))
    kills = found["kills"]
    sys.exit(not found["same_bits"] or kills["survived"] < kills["made"])


if __name__ == "__main__":
    main()
