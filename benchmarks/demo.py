"""The demo as a whole: time, held-out bits per byte, exact match, retention.

    python -m benchmarks.demo [--scale 1] [--seed 0] [--set path.to.key=value]

Runs `fusionchat demo` in a temporary folder and reads its report. The last line is one JSON object:
``seconds``; ``bpb`` of pivot, sources, sft, targets, varm, linear at the paper's label weight, and under ``best`` at the
one the sweep chose; ``gain`` over SFT and ``se``, its paired standard error; ``exact_match``; ``retention`` of each source.
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
    """The JSON object of a report: figures at the paper's label weight, and under ``best`` at the sweep's choice."""
    rows = {row["label"]: row for row in report["rows"]}
    chosen = report["fused"].partition("λ ")[2]
    paper = next(label for label in rows if label.startswith("varm")).partition("λ ")[2]

    def at(weight: str) -> dict:
        names = {label: label.partition(",")[0].removeprefix("target ") for label in rows}
        return {names[label]: row for label, row in rows.items() if label.endswith(f"λ {weight}")}

    fixed = {"sft": rows["SFT"]} | {r["label"]: r for r in report["rows"] if r["kind"] in ("pivot", "source")}

    def table(key: str) -> dict:
        def value(row: dict) -> float | None:
            return row[key] and row[key]["overall"]["value"]

        def group(found: dict) -> dict:
            merges = {name: value(row) for name, row in found.items() if row["kind"] == "merge"}
            targets = {name: value(row) for name, row in found.items() if row["kind"] == "target"}
            return merges | {"targets": list(targets.values()), "target_names": list(targets)}

        main = {name: value(row) for name, row in fixed.items()} | group(at(paper))
        return main | {"best": {"label_weight": float(chosen), **group(at(chosen))}}

    def gains(part: str) -> dict:
        def group(found: dict) -> dict:
            return {f"{name}_vs_sft": row["bits_gain"]["overall"][part] for name, row in found.items()}

        return group(at(paper)) | {"best": group(at(chosen))}

    return {
        "bpb": table("bits_per_byte"),
        "exact_match": table("exact_match"),
        "gain": gains("value"),
        "se": gains("se"),
        "retention": {pair["label"]: pair["retention"] for pair in report["pairs"]},
    }


if __name__ == "__main__":
    main()
