"""This checkout's speed beside another's: the same benchmark in turns, in one run.

    git worktree add ../before 60dfd0c
    python -m benchmarks.beside ../before            # align and merge, --quick, three turns each
    python -m benchmarks.beside ../before merge --turns 5

The machine's speed changes from hour to hour, so the two take turns (A B, B A, ...), and each figure is the median of
its turns. Each checkout runs its own copy of the benchmark on its own code, with this Python. Prints a table; the last
line is JSON: ``{"align": {"stage_rows_per_s": 0.99, ...}, "merge": {...}}``, time now over time before: under 1 is
faster now, 1.1 is 10 % slower.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
SPEEDS = {"align": ("stage_rows_per_s", "positions_rows_per_s", "maps_rows_per_s", "project_rows_per_s")}
"""Figures of a benchmark of which more is better, by its name; those of `TIMES` are seconds or ratios to a floor."""
TIMES = {"merge": ("over_floor",), "align": ()}


def figures(name: str, checkout: Path) -> dict[str, float]:
    """One turn: the figures of a benchmark that are speeds, as times."""
    environment = os.environ | {
        "PYTHONPATH": f"{checkout / 'src'}{os.pathsep}{checkout}",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"benchmarks.{name} failed in {checkout}:\n{done.stderr[-2000:]}")
    return as_times(name, json.loads(done.stdout.strip().splitlines()[-1]))


def as_times(name: str, held: Mapping[str, Any]) -> dict[str, float]:
    """Speeds turned into times; figures by method flattened."""
    found = {key: 1.0 / held[key] for key in SPEEDS.get(name, ()) if held.get(key)}
    for key in TIMES[name]:
        value = held[key]
        found |= (
            {f"{key} {k}": float(v) for k, v in value.items()}
            if isinstance(value, dict)
            else {key: float(value)}
        )
    return found


def compare(name: str, other: Path, turns: int) -> dict[str, float]:
    """Median time now over median time before, by figure."""
    now: list[dict[str, float]] = []
    before: list[dict[str, float]] = []
    for turn in range(turns):
        order = [(HERE, now), (other, before)]
        for checkout, held in order if turn % 2 == 0 else reversed(order):
            held.append(figures(name, checkout))
    shared = [key for key in now[0] if key in before[0]]
    median = {key: [statistics.median(one[key] for one in held) for held in (now, before)] for key in shared}
    for key, (mine, theirs) in median.items():
        print(f"{name:<7} {key:<40} {mine / theirs:6.3f}   ({mine:.3g} / {theirs:.3g})")
    return {key: round(mine / theirs, 3) for key, (mine, theirs) in median.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="another checkout")
    parser.add_argument("names", nargs="*", default=["align", "merge"], help="align, merge")
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    other = given.other.resolve()
    if not (other / "benchmarks").is_dir():
        sys.exit(f"{other} is no checkout with benchmarks")
    found = {name: compare(name, other, given.turns) for name in given.names}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
