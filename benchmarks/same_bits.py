"""Whether two runs of one recipe made the same bits, stage by stage, whatever version of FusionChat made them.

    python -m benchmarks.same_bits RUN_A RUN_B

Prints each file that differs and one line per stage, and ends with exit code 1 where anything differs. Files are compared byte
by byte, but for those whose format has changed since commit b4b1d00, of which the content is compared:

- shards: all of a job together, array by array, as they are read. Older ones are cut by 256 conversations and have ids of 32
  bits; the oldest repeat the supervised tokens, which are left out;
- renderings: array by array, as they are read, where both runs have them;
- ``scores.json``: metric by metric;
- other JSON: without times and fingerprints, and without the list of files that a merge has read, whose checksums are given
  where they are known; of manifests the figures that both have.

The report is not compared: it is made of what is.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file

from fusionchat.corpus.rendered_part import read_rendered
from fusionchat.represent.store.layout import KEY, SHARDS
from fusionchat.represent.store.read import DistributionStore

STAGES = ("corpus", "represent", "align", "fuse", "distill", "merge", "evaluate")
TOKENS = Path("corpus/corpus/tokens")
ROWS = ("labels", "turn", "begin", "end", "offsets")
VARIABLE = {"seconds", "fingerprint", "versions"}
ABOUT = {"README.md", "fusionchat_recipe.yaml", "metrics.jsonl"}
"""About the run, like the report: text, and how long its steps took."""
Arrays = dict[str, NDArray[np.generic]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN")
    first, second = parser.parse_args().runs
    differ = False
    for stage in STAGES:
        files = files_of(first, second, stage)
        found = [line for name in files for line in differences(first, second, name)]
        print(*(f"  {line}" for line in found), sep="\n", end="\n" if found else "")
        print(f"{stage}: {len(files)} files, {f'{len(found)} differences' if found else 'equal'}")
        differ |= bool(found) or not files
    print("different" if differ else "the same bits")
    sys.exit(differ)


def files_of(first: Path, second: Path, stage: str) -> list[str]:
    """The files of a stage in either run by relative path; a job's shards are one."""
    names = {
        path.parent / SHARDS if path.match(SHARDS) else path
        for run in (first, second)
        for path in (found.relative_to(run) for found in (run / stage).rglob("*") if found.is_file())
        if path.name not in ABOUT and not path.name.startswith(".")
    }
    both = [name for name in names if not name.is_relative_to(TOKENS) or all_there(first, second, name)]
    return sorted(map(str, both))


def all_there(first: Path, second: Path, name: Path) -> bool:
    """Whether both runs have a file: older ones have no renderings."""
    return (first / name).is_file() and (second / name).is_file()


def differences(first: Path, second: Path, name: str) -> Iterator[str]:
    """What differs between a file of two runs, in words."""
    paths = first / name, second / name
    there = [any(path.parent.glob(path.name)) for path in paths]
    if not all(there):
        yield f"{name}: only in {first if there[0] else second}"
    elif name.endswith(SHARDS) or Path(name).is_relative_to(TOKENS):
        mine, theirs = (shards(path.parent) if name.endswith(SHARDS) else rendered(path) for path in paths)
        for key in sorted(mine.keys() | theirs.keys()):
            if key not in mine or key not in theirs:
                yield f"{name}: array {key} only in {first if key in mine else second}"
            elif not same(mine[key], theirs[key]):
                yield f"{name}: array {key} differs"
    elif paths[0].suffix == ".json":
        mine, theirs = (content(path) for path in paths)
        if paths[0].name == "manifest.json":
            mine, theirs = (
                {k: v for k, v in mine.items() if k in theirs},
                {k: v for k, v in theirs.items() if k in mine},
            )
        if mine != theirs:
            yield f"{name}: {' '.join(differing(mine, theirs))}"
    elif paths[0].read_bytes() != paths[1].read_bytes():
        yield f"{name}: bytes differ"


def shards(folder: Path) -> Arrays:
    """The arrays of all of a job's shards, one after the other; ids of empty slots are 0."""
    paths = sorted(folder.glob(SHARDS))
    with safe_open(paths[0], framework="np") as file:
        new = KEY in (file.metadata() or {})
    if new:
        store = DistributionStore(folder)
        arrays = {name: store.column(name, 0, len(store)) for name in store.shard(0).columns}
        arrays |= vars(store.slice(0, len(store)))
    else:
        held = [load_file(path) for path in paths]
        arrays = {key.removeprefix("extra."): np.concatenate([one[key] for one in held]) for key in held[0]}
        if folder.parent.name == "fuse":
            arrays.pop("label_logprob", None)  # the oldest repeat the pivot's
    arrays["ids"] = np.where(np.isneginf(arrays["logprobs"]), 0, arrays["ids"]).astype(np.int32)
    return {name: array for name, array in arrays.items() if name not in ROWS}


def rendered(path: Path) -> Arrays:
    """The arrays of a rendering: of older ones as they are in the file."""
    with safe_open(path, framework="np") as file:
        flat = "labels" in file.keys()  # noqa: SIM118 (no mapping)
    if flat:
        return load_file(path)
    part = read_rendered(path)[:]
    own = {"input_ids": part.input_ids, "starts": part.starts, "places": part.places}
    return own | vars(part.supervised)


def same(mine: NDArray[np.generic], theirs: NDArray[np.generic]) -> bool:
    """Whether two arrays have one type and shape and the same bits."""
    return mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()


def content(path: Path) -> dict[str, object]:
    """What is compared of a JSON file."""
    held = json.loads(path.read_text(encoding="utf-8"))
    if path.name == "manifest.json":
        held = held["summary"]
    elif path.name == "scores.json":
        held = scores(held)
    elif path.name == "merge_weights.json":
        del held["inputs"]
    return steady(held)


def scores(held: dict) -> dict:
    """Scores by metric, as they are written since metrics are values."""
    if "metrics" in held:
        return {"parameters": held["parameters"], "metrics": held["metrics"]}
    asked = [i for i, right in enumerate(held["correct"]) if right is not None]
    metrics = {
        "bits_per_byte": {key: held[key] for key in ("id", "domain")}
        | {"value": held["bits"], "size": held["bytes"]}
    }
    if asked:
        own = {key: [held[key][i] for i in asked] for key in ("id", "domain")}
        right = [float(held["correct"][i]) for i in asked]
        metrics["exact_match"] = own | {"value": right, "size": [1] * len(asked)}
    return {"parameters": held["parameters"], "metrics": metrics}


def steady(value: object) -> object:
    """A JSON value without times and fingerprints."""
    if isinstance(value, dict):
        return {key: steady(part) for key, part in value.items() if key not in VARIABLE}
    return [steady(part) for part in value] if isinstance(value, list) else value


def differing(mine: dict, theirs: dict) -> Iterator[str]:
    """The keys at the top in which two JSON objects differ."""
    return (key for key in sorted(mine.keys() | theirs.keys()) if mine.get(key) != theirs.get(key))


if __name__ == "__main__":
    main()
