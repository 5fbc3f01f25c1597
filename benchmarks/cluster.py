"""A run on a Ray cluster of this machine beside one without: its bits, what Ray costs, two workers beside one, nodes killed.

    python -m benchmarks.cluster [--quick] [--folder FOLDER] [--minutes 20]

The demo's three models at a small scale. The program starts its clusters itself, nodes with one CPU each; the extra `ray` must be
installed. A JSON line for each step on stderr; on stdout after each step the figures so far, all of them in the last line:

- ``same_bits``: whether all runs, the disturbed ones too, end with the bits of the local one;
- ``ray_overhead_s``, ``ray_overhead_share``: what the run takes longer on one node than in this process;
- ``speedup_2_workers``: shards a second of one capture while two workers of one thread are at work, by those of one worker;
  ``bare_speedup_2``: the same of bare forward passes in two processes;
- ``kills``: nodes killed at work, in each kind of stage, and in a training of two ranks: with ``--quick`` once, and the run
  then ends with that stage; else three times, of which the first run goes on to its end; and how often the bits were the same
  all the same;
- ``shards_redone``: shards that a second attempt has made on another node;
- ``complete``: whether all of it was measured. What was not is null. If the program is stopped, with ``--folder`` the same
  command goes on where it was.

After ``--minutes`` no second or third kill of a kind is begun.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.cluster_kills import KINDS, Kill, Say, kill_round
from benchmarks.cluster_nodes import cluster
from benchmarks.cluster_runs import bits, recipe, timed
from benchmarks.cluster_speed import speedups
from benchmarks.kill import make_input
from benchmarks.steps import Steps

ROWS = 64


def measure(steps: Steps, times: int, until: float, say: Say) -> None:
    """Take all steps that are not kept yet, the most important first."""
    with patch("fusionchat.stages.represent.shard_rows", lambda _: ROWS):
        steps.step("local_s", lambda: timed(recipe("warm")) and timed(recipe("local")))
        local = recipe("local").run_folder
        say(steps.step("ray", lambda: on_one_node(local)))
        kill_round(steps, 0, local, say, whole=times > 1)
    with patch("fusionchat.stages.represent.shard_rows", lambda _: 5 * ROWS):
        say({"speedups": steps.step("speedups", lambda: speedups(recipe))})
    with patch("fusionchat.stages.represent.shard_rows", lambda _: ROWS):
        for number in range(1, times):
            kill_round(steps, number, local, say, whole=False, until=until)


def on_one_node(local: Path) -> dict[str, Any]:
    """The run on a cluster of one node: its seconds, and whether it has the bits of the local one."""
    with cluster(1) as on:
        seconds = timed(recipe("ray", on=on))
    return {"ray_s": seconds, "same_bits": bits(recipe("ray").run_folder) == bits(local)}


def figures(held: Mapping[str, Any], times: int) -> dict[str, Any]:
    """The last line, from the steps that were taken."""
    kept = {
        name: held[name]
        for number in range(times)
        for kind in KINDS
        if (name := f"kill/{number}/{kind}") in held
    }
    found = [Kill(*one) for kills in kept.values() for one in kills]
    hits = [one for one in found if one.hit]
    alone, there, speeds = held.get("local_s"), held.get("ray"), held.get("speedups")
    over = None if alone is None or there is None else there["ray_s"] - alone
    return {
        "same_bits": there and there["same_bits"] and all(one.same_bits for one in found),
        "ray_overhead_s": None if over is None else round(over, 1),
        "ray_overhead_share": None if over is None else round(over / alone, 2),
        "speedup_2_workers": speeds and round(speeds[0], 2),
        "bare_speedup_2": speeds and round(speeds[1], 2),
        "kills": {"made": len(hits), "survived": sum(one.same_bits for one in hits)},
        "shards_redone": sum(one.redone for one in found),
        "complete": over is not None and speeds is not None and len(kept) == times * len(KINDS),
    }


@contextmanager
def in_folder(given: Path | None) -> Iterator[Path]:
    """The folder with the benchmark's input, as the working directory: the given one, which stays, or a temporary one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) if given is None else given.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "recipe.yaml").is_file():  # it is written last
            make_input(folder)
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def show(held: Mapping[str, Any], times: int) -> None:
    """Print the figures so far; Ray ends a process that is stopped while it uses a cluster, without a word from us."""
    print(json.dumps(figures(held, times)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one kill in each kind of stage instead of three"
    )
    parser.add_argument("--folder", type=Path, help="where runs and results are kept, to go on later")
    parser.add_argument("--minutes", type=float, default=20.0, help="no further kill is begun after them")
    args = parser.parse_args()
    times, until = 1 if args.quick else 3, time.monotonic() + 60.0 * args.minutes
    with in_folder(args.folder) as folder:
        steps = Steps(folder / "steps.jsonl", lambda held: show(held, times))

        def stop(*_: object) -> None:
            show(steps.held, times)
            raise KeyboardInterrupt

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        try:
            measure(steps, times, until, lambda line: print(json.dumps(line), file=sys.stderr, flush=True))
        except BaseException:  # a SIGTERM while Ray starts a node is a SystemExit
            traceback.print_exc()
        found = figures(steps.held, times)
    show(steps.held, times)
    enough = (
        found["ray_overhead_s"] is not None
        and found["speedup_2_workers"]
        and found["kills"]["made"] >= len(KINDS)
    )
    sys.exit(not (found["same_bits"] and enough))


if __name__ == "__main__":
    main()
