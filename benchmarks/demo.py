"""The demo as a whole: CPU and wall time, alone and beside busy processes, its results and its headline.

    python -m benchmarks.demo [--scale 1] [--seed 0] [--set path.to.key=value] [--full] [--busy 2] [--source CHECKOUT]

Runs `fusionchat demo` in a temporary folder, once alone and once beside ``--busy`` processes that never rest, and reads its
report. ``--full`` also trains every label weight of `SWEEP` (alone only). ``--source`` runs the code of another checkout, for
figures before and after a change. The last line is one JSON object:

- ``seconds``, ``cpu_seconds``: wall and CPU time of the run alone; ``seconds_busy``, ``cpu_seconds_busy``: beside the others;
  ``stages``: wall seconds of each stage, alone (``input`` makes corpus and models);
- ``headline``: the fused model's row, its gain over SFT and over the soup of SFT seeds, and their standard errors,
  training noise included;
- ``bpb``, ``exact_match``, ``gain`` (over SFT) and ``se`` of every row of the results; ``retention`` of each source.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SWEEP = (0.9, 0.7, 0.3, 0.1)
BUSY = "while True: pass"


class Measured(NamedTuple):
    """One run of the demo: wall and CPU seconds, and its report.json."""

    seconds: float
    cpu_seconds: float
    report: dict


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--full", action="store_true", help="also the sweep of label weights")
    parser.add_argument(
        "--busy", type=int, default=2, help="busy processes of the second run; 0 for no second run"
    )
    parser.add_argument("--source", type=Path, help="a checkout whose code is run instead of this one's")
    parser.add_argument("--keep", type=Path, help="run here instead of in a temporary folder")
    arguments = parser.parse_args()
    settings = list(arguments.set)
    if arguments.full:
        settings.append(f"distill.sweep={list(SWEEP)}")
    options = ["--scale", str(arguments.scale), "--seed", str(arguments.seed)]
    options += [part for setting in settings for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as temporary:
        alone = run(options, arguments.keep or Path(temporary) / "alone", arguments.source)
        busy = None
        if arguments.busy and not arguments.full:
            with busy_processes(arguments.busy):
                busy = run(options, Path(temporary) / "busy", arguments.source)
    found = figures(alone, busy)
    show(found)
    print(json.dumps(found))


def show(found: dict) -> None:
    """Print the times as a table."""
    print(f"\n{'':16}{'alone':>10}{'busy':>10}")
    for name, key in (("wall seconds", "seconds"), ("CPU seconds", "cpu_seconds")):
        print(f"{name:16}{found[key]:>10}{found[key + '_busy'] or '-':>10}")
    for stage, seconds in found["stages"].items():
        print(f"  {stage:14}{seconds:>10}")


def run(options: list[str], output: Path, source: Path | None) -> Measured:
    """Run the demo and measure it; whatever OpenMP settings this process has, the demo chooses its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    if source is not None:
        environment["PYTHONPATH"] = str(source.resolve() / "src")
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "fusionchat", "demo", "--output", str(output), *options]
    subprocess.run(command, check=True, env=environment)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = json.loads((output / "demo" / "report" / "report" / "report.json").read_text())
    return Measured(round(seconds, 1), round(spent, 1), report)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep ``count`` processes busy while the block runs."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def figures(alone: Measured, busy: Measured | None) -> dict:
    """The JSON object of the last line."""
    report = alone.report
    return {
        "seconds": alone.seconds,
        "cpu_seconds": alone.cpu_seconds,
        "seconds_busy": busy and busy.seconds,
        "cpu_seconds_busy": busy and busy.cpu_seconds,
        "stages": stages(alone),
        "headline": report.get("headline"),
        "bpb": column(report, "bits_per_byte", "value", "value"),
        "exact_match": column(report, "exact_match", "value", "value"),
        "gain": column(report, "bits_per_byte", "over_sft", "value"),
        "se": column(report, "bits_per_byte", "over_sft", "se"),
        "retention": {pair["label"]: pair["retention"] for pair in report["pairs"]},
    }


def stages(measured: Measured) -> dict[str, float]:
    """Wall seconds of each stage; what no stage took is the making of corpus and models, and the program's start."""
    spent: dict[str, float] = {}
    for job in measured.report["stages"]:
        spent[job["stage"]] = spent.get(job["stage"], 0.0) + job["seconds"]
    rest = measured.seconds - sum(spent.values())
    return {stage: round(seconds, 1) for stage, seconds in ({"input": rest} | spent).items()}


def column(report: dict, metric: str, key: str, part: str) -> dict[str, float]:
    """One figure of every row of the results that has it; none in a report of a version without metrics by name."""
    rows = {row["label"]: row.get("results", {}).get(metric, {}).get(key) for row in report["rows"]}
    return {label: found["overall"][part] for label, found in rows.items() if found}


if __name__ == "__main__":
    main()
