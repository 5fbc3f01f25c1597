"""Whether two runs of one recipe made the same bits, stage by stage, whatever version of FusionChat made them.

    python -m benchmarks.same_bits RUN_A RUN_B

Prints each file that differs and one line per stage, and ends with exit code 1 where anything differs. Files are compared byte
by byte, but for those whose format has changed since commit b4b1d00, of which the content is compared:

- shards: array by array. Older ones repeat the supervised tokens (``labels``, ``turn``, ``begin``, ``end``, ``offsets``), newer
  ones are of the rows in ``corpus/corpus/tokens``; fused ones repeat the pivot's ``label_logprob``;
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
from safetensors.numpy import load_file

STAGES = ("corpus", "represent", "align", "fuse", "distill", "merge", "evaluate")
SHARD_CONVERSATIONS = 256
TOKENS = Path("corpus/corpus/tokens")
ROWS = ("labels", "turn", "begin", "end")
VARIABLE = {"seconds", "fingerprint", "versions"}
ABOUT = {"README.md", "fusionchat_recipe.yaml"}
"""Text about the run, like the report."""
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
    """The files of a stage in either run by relative path; tokens are compared with the shards that are of them."""
    names = {
        path.relative_to(run)
        for run in (first, second)
        for path in (run / stage).rglob("*")
        if path.is_file() and path.name not in ABOUT and not path.name.startswith(".")
    }
    return sorted(str(name) for name in names if not name.is_relative_to(TOKENS))


def differences(first: Path, second: Path, name: str) -> Iterator[str]:
    """What differs between a file of two runs, in words."""
    paths = first / name, second / name
    if not all(path.is_file() for path in paths):
        yield f"{name}: only in {(first if paths[0].is_file() else second)}"
    elif paths[0].name.startswith("shard-"):
        mine, theirs = (shard(run, Path(name)) for run in (first, second))
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


def shard(run: Path, name: Path) -> Arrays:
    """A shard's arrays with the tokens that its rows are of, as older shards have them; offsets from 0."""
    arrays = {key.removeprefix("extra."): array for key, array in load_file(run / name).items()}
    stage, job = name.parts[0], name.parts[1]
    if "labels" not in arrays:
        arrays |= tokens(run, job if stage == "represent" else "pivot", int(name.stem.split("-")[1]))
    if stage == "fuse" and "label_logprob" not in arrays:
        arrays["label_logprob"] = load_file(run / "represent/pivot" / name.name)["label_logprob"]
    return arrays


def tokens(run: Path, model: str, index: int) -> Arrays:
    """The supervised tokens of a model whose rows are in a shard of the training part."""
    part = load_file(run / TOKENS / model / "train.safetensors")
    first = index * SHARD_CONVERSATIONS
    offsets = part["offsets"][first : first + SHARD_CONVERSATIONS + 1]
    rows = slice(int(offsets[0]), int(offsets[-1]))
    return {name: part[name][rows] for name in ROWS} | {"offsets": offsets - offsets[0]}


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
