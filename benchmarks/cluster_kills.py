"""Nodes of a cluster that die at work, in each kind of stage, and what becomes of the run."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from benchmarks.cluster_nodes import add_node, cluster, kill_node
from benchmarks.cluster_runs import bits, copied, recipe
from benchmarks.steps import Steps
from fusionchat.artifacts import read_manifest
from fusionchat.errors import FusionChatError
from fusionchat.run.engine.ray.cluster import joined
from fusionchat.run.live import at_work
from fusionchat.stages.pipeline import open_run, run, run_job

STAGES = ("corpus", "represent", "align", "fuse", "distill", "merge", "evaluate")
KINDS = (*STAGES, "ranks")
UNDER_WAY = {"represent": "shard-*", "distill": "checkpoint-*"}
"""What such a job leaves soon: its node is killed when that is there, and at once where a job leaves nothing."""
TRIES = 5
LIMIT = 900.0
"""Seconds after which a disturbed run counts as hanging."""
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


def kill_round(
    steps: Steps, number: int, local: Path, say: Say, *, whole: bool, until: float = float("inf")
) -> None:
    """Kill a node in each kind of stage and in a training of ranks, until it has lost work; what is kept is left out.

    Args:
        steps: Where the kills are kept, as ``kill/NUMBER/KIND``.
        number: Which round it is.
        local: The undisturbed run.
        say: Takes a line for each kill.
        whole: Whether the disturbed runs go on to their end, or end with the stage.
        until: No kill begins after this (`time.monotonic`).
    """
    left = [kind for kind in KINDS if f"kill/{number}/{kind}" not in steps.held]
    if not left or time.monotonic() > until:
        return
    with cluster(2, idle_head=True) as on, joined(recipe("any", on=on).runtime.ray):
        for kind in left:
            if time.monotonic() < until:
                kill = killer_of(kind, on, local, whole=whole)
                steps.step(
                    f"kill/{number}/{kind}",
                    lambda kind=kind, kill=kill: tried(f"{kind}-{number}", kind, kill, say),
                )


def killer_of(kind: str, on: Any, local: Path, *, whole: bool) -> Callable[[str], Kill]:
    """What makes a run of a name and kills a node in it."""
    if kind != "ranks":
        return lambda name: disturbed(on, kind, local, name, whole=whole)
    training = next(job for job in open_run(recipe(local.name)).jobs if job.startswith("distill/"))
    return lambda name: in_ranks(on, local, training, name)


def tried(name: str, kind: str, kill: Callable[[str], Kill], say: Say) -> list[Kill]:
    """Kill until work was lost; a run that ends with an error has not survived."""
    found = list[Kill]()
    while len(found) < TRIES and not any(one.hit for one in found):
        begun = time.monotonic()
        try:
            found.append(kill(f"{name}-{len(found)}"))
        except FusionChatError as error:
            found.append(Kill(True, False, 0, 0))
            say({"kind": kind, "error": str(error)})
        say({"kind": kind, **found[-1]._asdict(), "seconds": round(time.monotonic() - begun, 1)})
    return found


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


def killing(on: Any, folder: Path, jobs: list[str], work: Callable[[], object]) -> str:
    """Do work while the first node dies that is under way with one of the jobs; another takes its place. Returns the dead.

    The work has a thread of its own: Ray starts nodes in the main thread alone.

    Raises:
        TimeoutError: The work does not end.
    """
    dead, done, limit = "", beside(work), time.monotonic() + LIMIT
    while not done.done() and not dead and time.monotonic() < limit:
        dead = next((node for job in jobs if (node := struck(on, folder, job))), "")
        time.sleep(0.005)
    if dead:
        add_node(on)
    done.result(timeout=max(0.0, limit - time.monotonic()))
    return dead


def beside(work: Callable[[], object]) -> "Future[object]":
    """What comes of work in a thread that ends with this process, whatever it does."""
    done = Future[object]()

    def do() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=do, daemon=True).start()
    return done


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
