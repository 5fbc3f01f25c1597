"""The demo as a whole: time, held-out bits per byte, exact match, retention.

    python -m benchmarks.demo [--scale 1] [--seed 0] [--set path.to.key=value]

Runs `fusionchat demo` in a temporary folder and reads its report. The last line is one JSON object:
``seconds``; ``bpb`` of pivot, sources, sft, targets, all, varm, linear (at the paper's label weight and at the one
the sweep chose); ``gain`` over SFT and ``se`` its paired standard error; ``exact_match``; ``retention`` of each source.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--keep", type=Path, help="run here instead of in a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        output = arguments.keep or Path(temporary)
        command = [sys.executable, "-m", "fusionchat", "demo", "--output", str(output)]
        command += ["--scale", str(arguments.scale), "--seed", str(arguments.seed)]
        command += [part for setting in arguments.set for part in ("--set", setting)]
        started = time.monotonic()
        subprocess.run(command, check=True)
        seconds = time.monotonic() - started
        report = json.loads((output / "demo" / "report" / "report" / "report.json").read_text())
    print(json.dumps(figures(report) | {"seconds": round(seconds, 1)}))


def figures(report: dict) -> dict:
    """The JSON object of a report."""
    rows = {row["label"]: row for row in report["rows"]}
    chosen = report["fused"].partition("λ ")[2]
    paper = next(label for label in rows if label.startswith("varm")).partition("λ ")[2]

    def at(weight: str) -> dict:
        return {
            label.partition(",")[0].removeprefix("target "): row
            for label, row in rows.items()
            if label.endswith(f"λ {weight}")
        }

    fixed = {"sft": rows["SFT"]} | {r["label"]: r for r in report["rows"] if r["kind"] in ("pivot", "source")}

    def table(key: str) -> dict:
        def value(row: dict) -> float | None:
            return row[key] and row[key]["overall"]["value"]

        def group(found: dict) -> dict:
            named = {n: value(r) for n, r in found.items() if r["kind"] == "merge"}
            return named | {"targets": {n: value(r) for n, r in found.items() if r["kind"] == "target"}}

        main = {n: value(r) for n, r in fixed.items()} | group(at(paper))
        return main | {"best": {"label_weight": float(chosen), **group(at(chosen))}}

    gains = {
        f"{name}_vs_sft@{weight}": row["bits_gain"]["overall"]
        for weight in dict.fromkeys((paper, chosen))
        for name, row in at(weight).items()
    }
    return {
        "bpb": table("bits_per_byte"),
        "exact_match": table("exact_match"),
        "gain": {name: gain["value"] for name, gain in gains.items()},
        "se": {name: gain["se"] for name, gain in gains.items()},
        "retention": {pair["label"]: pair["retention"] for pair in report["pairs"]},
    }


if __name__ == "__main__":
    main()
