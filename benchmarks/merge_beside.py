"""The bytes and the speed of this checkout's merges beside another's, in one run.

    git worktree add --detach ../before 492344a
    python -m benchmarks.merge_beside ../before              # bytes of every method, then the speed of some; 4 min
    python -m benchmarks.merge_beside ../before --turns 0    # bytes alone

**Bytes.** Every method merges the models of `benchmarks.merge` (bfloat16, two targets) and small families with other
types, numbers of targets and settings, with one thread and with two. All files of the fused model are hashed; of
``merge_weights.json`` all but times, fingerprint and the list of inputs. Each checkout merges in a process that compiles
its kernels afresh; this one merges once more in a process that finds them compiled. All must be equal.

**Speed.** The methods of `benchmarks.merge` on its models, one thread; the two checkouts take turns. A figure is the least
processor time of a method now over the least before: 1.1 is 10 % slower.

The last line is JSON: ``{"cases": 60, "different": [], "processor": {"varm": 0.99, ...}}``. Ends with exit code 1 where
anything differs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

HERE = Path(__file__).resolve().parents[1]
VARIABLE = ("seconds", "fingerprint", "inputs")
SMALL = (256, 700, 2, 128, 40_000)
"""Hidden, intermediate, layers, key-value width, vocabulary: the embedding has more chunks than two threads keep ahead."""

BOTH = {
    "varm": [[], ["power=0.5"], ["power=3"], *([f"granularity={g}"] for g in ("model", "layer", "module", "element"))],
    "linear": [[], ["weight=[1,0.3]"]],
    "task_arithmetic": [[], ["weight=[0.7,0.4]", "scale=1.3", "normalize=true"]],
    "ties": [[], ["density=[0.5,0.3]", "weight=[1,0.3]", "scale=0.7"], ["density=1", "normalize=false"]],
    "dare_linear": [[], ["density=0.3", "rescale=false", "weight=[1,0.3]", "normalize=true"]],
    "dare_ties": [[], ["density=[0.3,1]", "seed=3", "normalize=true"]],
    "della": [[], ["density=[0.3,1]", "epsilon=0.1", "elect_sign=false", "normalize=false"]],
    "breadcrumbs": [[], ["density=0.5", "gamma=0.1", "elect_sign=true", "normalize=true", "weight=[1,0.3]"]],
    "sce": [[], ["select_topk=1"]],
    "slerp": [["t=0.3"]],
    "nuslerp": [[], ["weight=[1,0.3]", "origin=zero"]],
    "multislerp": [[], ["origin=zero"]],
    "karcher": [[], ["origin=pivot"]],
    "model_stock": [[]],
    "passthrough": [["scale=0.5"], ["slices=[{model: pivot, layers: [0, 2]}, {model: t1, layers: [1, 2]}]"]],
}  # fmt: skip
"""Settings of every method for two targets. Fisher merging needs folders and is added in `cases`."""
ONE = ("varm", "linear", "ties", "dare_ties", "della", "sce", "slerp", "multislerp", "karcher")
"""Methods that one target is tried with."""
MANY = ("varm", "linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "breadcrumbs", "sce", "multislerp",
        "karcher", "model_stock")  # fmt: skip
"""Methods that three and five targets are tried with."""


class Case(TypedDict):
    """One merge, as it goes to a process."""

    name: str
    pivot: str
    targets: dict[str, str]
    method: str
    settings: list[str]
    dtype: str
    threads: int


class Made(TypedDict):
    """What a merge gave: a hash of all of its files, and its processor seconds."""

    hash: str
    seconds: float


def cases(root: Path) -> list[Case]:
    """Every merge whose bytes are compared; makes the models in ``root``."""
    import torch

    from benchmarks.merge import SIZES, make_models, shapes_of
    from benchmarks.merge_cases import family, llama_shapes, mixed, save
    from benchmarks.merge_correctness import exponential

    SIZES["small"] = SMALL
    pivot, two = make_models(root / "bf16", "small", 2)
    _, five = make_models(root / "five", "0.05B deep", 5)
    third, three = family(root / "mixed", 1, (1e-4, 1e-3, 2e-2), mixed(1))
    wide, wider = family(root / "fp32", 1, (1e-3, 2e-3, 1e-3), lambda: torch.float32)
    facts = {f"f{j}": {n: exponential(n, s, j) for n, s in shapes_of("small").items()} for j in range(2)}
    folders = [str(save(root / name, one)) for name, one in facts.items()]
    narrow = {f"g{j}": {n: exponential(n, s, j) for n, s in llama_shapes(1).items()} for j in range(3)}
    others = [str(save(root / name, one)) for name, one in narrow.items()]

    found: list[Case] = []

    def add(kind: str, base: Path, targets: dict[str, Path], method: str, settings: list[str], dtype: str = "bfloat16",
            threads: int = 1) -> None:  # fmt: skip
        name = " ".join(
            [kind, dtype, f"{threads} threads", method, *(s for s in settings if not s.startswith("fisher"))]
        )
        places = {n: str(p) for n, p in targets.items()}
        found.append(
            Case(name=name, pivot=str(base), targets=places, method=method, settings=settings, dtype=dtype, threads=threads)
        )  # fmt: skip

    both = BOTH | {
        "fisher": [[f"fisher={json.dumps(folders)}"], [f"fisher={json.dumps(folders)}", "weight=[1,0.3]"]]
    }
    for method, several in both.items():
        for settings in several:
            add("bf16", pivot, two, method, settings, threads=2)
        add("bf16", pivot, two, method, several[0], "float32")
        add("bf16", pivot, two, method, several[-1], "float16")
    for method in MANY:
        add("three of mixed types", third, three, method, [], threads=2)
        add(
            "three of float32",
            wide,
            wider,
            method,
            ["weight=[1,0.3,0.7]"] if method == "ties" else [],
            "float16",
        )
        add("five of bf16", root / "five" / "pivot", five, method, [], threads=2)
    add("three of mixed types", third, three, "fisher", [f"fisher={json.dumps(others)}"], threads=2)
    for method in ONE:
        add("one of bf16", pivot, {"t0": two["t0"]}, method, [])
        add("one of float32", wide, {"t0": wider["t0"]}, method, [], "float32")
    return found


def speed_cases(root: Path, size: str) -> list[Case]:
    """The merges that are timed."""
    from benchmarks.merge import METHODS, SETTINGS, make_models

    pivot, targets = make_models(root / size, size, 2)
    places = {n: str(p) for n, p in targets.items()}
    return [
        Case(name=name, pivot=str(pivot), targets=places, method=name, dtype="bfloat16", threads=1,
             settings=[f"{k}={v}" for k, v in SETTINGS.get(name, {}).items()])
        for name in METHODS
    ]  # fmt: skip


def merge_all(given: list[Case]) -> Iterator[Made]:
    """Merge with the package that this process imports."""
    from fusionchat import merge  # type: ignore[attr-defined]

    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(given):
            out = Path(folder) / str(number)
            begun = time.process_time()
            merge(case["pivot"], case["targets"], case["method"], out, settings=case["settings"],
                  dtype=case["dtype"], threads=case["threads"], shard_bytes=10**8)  # fmt: skip
            seconds = time.process_time() - begun
            yield Made(hash=hash_of(out), seconds=seconds)
            for path in out.iterdir():
                path.unlink()


def hash_of(folder: Path) -> str:
    """SHA-256 of a fused model's files, without what changes from run to run."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(f"\0{path.name}\0".encode())
        if path.name == "merge_weights.json":
            held = {k: v for k, v in json.loads(path.read_text()).items() if k not in VARIABLE}
            digest.update(json.dumps(held, sort_keys=True).encode())
        else:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def run(checkout: Path, given: list[Case], compiled: Path) -> list[Made]:
    """Merge in a process of its own with a checkout's code; ``compiled`` is where numba keeps its kernels."""
    environment = os.environ | {
        "PYTHONPATH": str(checkout / "src"),
        "NUMBA_CACHE_DIR": str(compiled),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
    done = subprocess.run(
        command, input=json.dumps(given), env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"a merge failed in {checkout}:\n{done.stderr[-3000:]}")
    made: list[Made] = json.loads(done.stdout.strip().splitlines()[-1])
    return made


def compare_bytes(other: Path, root: Path, given: list[Case]) -> list[str]:
    """Merge everything with both checkouts; returns the names of the cases that differ, and prints every hash."""
    before = run(other, given, root / "numba-before")
    fresh = run(HERE, given, root / "numba")
    cached = run(HERE, given, root / "numba")
    different = []
    for case, one, two, three in zip(given, before, fresh, cached, strict=True):
        same = one["hash"] == two["hash"] == three["hash"]
        print(
            f"  {one['hash']}  {two['hash']}  {three['hash']}  {'' if same else 'DIFFERENT '}{case['name']}"
        )
        if not same:
            different.append(case["name"])
    print(
        f"{len(given)} merges (before, now compiled afresh, now from the cache): {len(different)} differ",
        flush=True,
    )
    return different


def compare_speed(other: Path, root: Path, given: list[Case], turns: int) -> dict[str, float]:
    """The least processor seconds now over the least before, by method."""
    now, before = list[list[Made]](), list[list[Made]]()
    for turn in range(turns + 1):  # the first compiles what is left to compile
        order = [(HERE, now, "numba"), (other, before, "numba-before")]
        for checkout, held, place in order if turn % 2 == 0 else reversed(order):
            held.append(run(checkout, given, root / place))
    ratios = {}
    for n, case in enumerate(given):
        mine, theirs = (min(turn[n]["seconds"] for turn in held[1:]) for held in (now, before))
        ratios[case["name"]] = round(mine / theirs, 3)
        print(
            f"  {case['name']:16} {mine:6.2f} s, before {theirs:6.2f} s, {mine / theirs:6.3f} times",
            flush=True,
        )
    return ratios


def main() -> None:
    """Compare, print, exit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, nargs="?", help="another checkout")
    parser.add_argument("--turns", type=int, default=3, help="of the speed")
    parser.add_argument("--size", default="0.1B", help="of the models that are timed: 0.1B, 0.5B")
    parser.add_argument("--speed-only", action="store_true")
    parser.add_argument("--folder", type=Path, default=None, help="where to make the temporary folder")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(list(merge_all(json.load(sys.stdin)))))
        return
    if given.other is None or not (given.other / "src" / "fusionchat").is_dir():
        sys.exit("name another checkout of this repository")
    with tempfile.TemporaryDirectory(prefix="fusionchat-merge-", dir=given.folder) as folder:
        root, other = Path(folder), given.other.resolve()
        every = [] if given.speed_only else cases(root)
        different = compare_bytes(other, root, every) if every else []
        speed = compare_speed(other, root, speed_cases(root, given.size), given.turns) if given.turns else {}
    print(json.dumps({"cases": len(every), "different": different, "processor": speed}))
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
