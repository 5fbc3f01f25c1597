"""mergekit's merges of a run's targets, to be measured beside ours.

    python3 -m venv MERGEKIT && MERGEKIT/bin/pip install torch==2.13.0 mergekit==0.1.5
    export MERGEKIT_PYTHON=MERGEKIT/bin/python
    python -m benchmarks.real_chat_merges PIVOT TARGET [TARGET ...] --out OUT [--only linear,ties,...]
    python -m benchmarks.real_chat_measure RUN linear=OUT/linear ties=OUT/ties ... --out MEASURED

PIVOT and TARGET are model folders. For every method of `METHODS` that takes as many targets, OUT/METHOD is mergekit's merge
and OUT/METHOD.yaml what it was told. What is there is kept. Arithmetic is float32; weights are stored in bfloat16, as the
recipe's fused model is. Settings: equal weights; TIES keeps the 20 % of its paper, DARE half, SCE the 10 % of its paper;
the rest are mergekit's defaults. Without ``MERGEKIT_PYTHON`` an environment is made in the user's cache.
"""

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.merge import mergekit_environment


class Method(NamedTuple):
    """A merge of mergekit's.

    Attributes:
        each: Settings of every target.
        shared: Settings of the merge.
        base: Which model is the base: the pivot, the first target, or none.
        most: How many targets it takes at most; 0 for any number.
    """

    each: Mapping[str, float] = MappingProxyType({})
    shared: Mapping[str, float] = MappingProxyType({})
    base: str = "pivot"
    most: int = 0


METHODS = {
    "linear": Method({"weight": 1.0}, base=""),
    "ties": Method({"weight": 1.0, "density": 0.2}),
    "dare_ties": Method({"weight": 0.5, "density": 0.5}),
    "sce": Method({}, {"select_topk": 0.1}),
    "model_stock": Method(),
    "slerp": Method({}, {"t": 0.5}, base="first", most=2),
    "karcher": Method(base=""),
}


def configuration(name: str, pivot: Path, targets: Sequence[Path]) -> dict[str, object]:
    """mergekit's YAML (JSON is YAML) of a merge."""
    method = METHODS[name]
    base = {"pivot": pivot, "first": targets[0]}.get(method.base)
    each = {"parameters": dict(method.each)} if method.each else {}
    return {
        "merge_method": name,
        **({"base_model": str(base.absolute())} if base else {}),
        "models": [{"model": str(target.absolute()), **each} for target in targets],
        "parameters": dict(method.shared),
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }


def merge(name: str, pivot: Path, targets: Sequence[Path], out: Path) -> Path:
    """mergekit's merge of the targets, made once; the pivot's tokenizer is put beside it."""
    folder, told = out / name, out / f"{name}.yaml"
    if folder.is_dir():
        return folder
    out.mkdir(parents=True, exist_ok=True)
    told.write_text(json.dumps(configuration(name, pivot, targets), indent=1) + "\n")
    partial = out / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    code = "from mergekit.scripts.run_yaml import main; main()"
    options = ["--no-copy-tokenizer", "--no-write-model-card", "--random-seed", "0"]
    done = subprocess.run(
        [*mergekit_environment(), "-c", code, str(told), str(partial), *options],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"mergekit failed at {name}:\n{done.stderr[-3000:]}")
    for file in pivot.iterdir():
        if file.suffix in (".json", ".jinja", ".txt", ".model") and not (partial / file.name).exists():
            shutil.copy(file, partial)
    partial.rename(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pivot", type=Path)
    parser.add_argument("targets", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="methods, with commas between; all by default")
    given = parser.parse_args()
    for name in [one.strip() for one in given.only.split(",") if one.strip()] or METHODS:
        most = METHODS[name].most
        if most and len(given.targets) > most:
            print(f"{name} takes {most} targets")
            continue
        print(merge(name, given.pivot, given.targets, given.out), flush=True)


if __name__ == "__main__":
    main()
