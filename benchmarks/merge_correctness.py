"""Merging is right: rounding, the same bytes however it is run, kills, first byte, and what mergekit gives.

    python -m benchmarks.merge_correctness [--quick] [--mergekit] [--folder FOLDER]

Makes its own models in a temporary folder. The last line is one JSON object:

- ``wrongly_rounded``: by method, the share of elements that are not the float64 reference (tests/reference/merge.py, on
  whole tensors) rounded once to bfloat16; goal 1e-5. Three targets (two for slerp and nuslerp) with changes of 1e-4, 1e-3
  and 2e-2, every tensor of every model in bfloat16 or float32 as a seed says. DARE's masks depend on no value, so they
  are read off a merge of models of ones; DELLA's come from merging the changes alone, target by target.
- ``same_bytes``: by method, how many runs with 1, 2 or 4 threads and one or many files were compared with the first one,
  and how many differ: files among runs with the same files, tensors between the others.
- ``kills``: merges that were killed (SIGKILL) at random moments, how many of them resumed to the same bytes (weights,
  index, and the report but for its seconds), and how many found finished tensors.
- ``first_byte_s``: by method, seconds from the start of the process to the first byte of a tensor in a file, least of 3;
  ``first_byte_uncached_s`` with no compiled kernels on the disk; ``memory_mb``: the private memory of these processes.
- with ``--mergekit``: ``mergekit_wrongly_rounded``, the same share for its results, and ``equal_to_mergekit``: root mean
  square difference over that of the change, both from one YAML file at ``dtype: float32``, targets in bfloat16 (where many
  changes tie at a threshold) and in float32 (where few do).
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.merge import SIZES, make_models, mergekit_environment, ours, shapes_of
from benchmarks.merge_cases import (
    BINARY,
    DECIMAL,
    Arrays,
    Case,
    Numbers,
    cases,
    dare_masks,
    della_masks,
    family,
    llama_shapes,
    load,
    make,
    mixed,
    round_once,
    save,
)
from fusionchat.merge.methods import METHODS
from fusionchat.merge.standalone import Settings, run_mergekit
from fusionchat.merge.stream import writer
from fusionchat.merge.stream.merge import merge_models
from fusionchat.merge.stream.output import JOURNAL, WORK
from fusionchat.merge.stream.result import REPORT

CHANGES = (1e-4, 1e-3, 2e-2)
WEIGHTED = ("task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "multislerp")
GOAL = 1e-5
DURABLE = 4 * 2**20
SHARD = 3 * 10**7
# no tensor is more than 1 part in 14, so that kills land between tensors too
SIZES |= {"0.05B deep": (512, 2048, 12, 128, 8000), "0.1B deep": (512, 2048, 24, 128, 8000)}


class Wrong(NamedTuple):
    """Elements that are not the reference rounded once.

    Attributes:
        all: How many.
        halves: How many of them have a reference so near the middle of two stored values (1 part in 1e12) that float64
            arithmetic in another order, or with a setting that it does not hold exactly, rounds the other way.
    """

    all: int
    halves: int


def count_wrong(
    case: Case, pivot: Arrays, targets: list[Arrays], given: Mapping[str, np.ndarray], fused: Path
) -> Wrong:
    """Compare a merge with its reference."""
    wrong, halves, result = 0, 0, load(fused)
    for name, base in pivot.items():
        expected = case.expected(base, np.stack([t[name] for t in targets[: case.targets]]), given.get(name))
        rounded, got = round_once(expected), result[name].astype(np.float64)
        apart = rounded != got
        wrong += int(np.count_nonzero(apart))
        size = np.maximum(np.abs(expected), np.abs(base))[apart]
        halves += int((np.abs(expected - (rounded + got) / 2)[apart] <= 1e-12 * size).sum())
    return Wrong(wrong, halves)


def measure_rounding(
    root: Path, layers: int, numbers: Numbers, names: Collection[str] = (), with_mergekit: bool = False
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Shares of wrongly rounded elements (and of halves), and mergekit's, over all sizes of change."""
    wrong: dict[str, list[Wrong]] = {}
    theirs: dict[str, list[Wrong]] = {}
    total, masks = 0, dare_masks(root / "dare-masks", layers, numbers.density)
    information = {
        f"f{j}": {n: exponential(n, s, j) for n, s in llama_shapes(layers).items()} for j in range(3)
    }
    folders = [save(root / name, one, layers) for name, one in information.items()]
    fisher = {n: np.stack([one[n].numpy() for one in information.values()]) for n in llama_shapes(layers)}
    for number, size in enumerate(CHANGES):
        here = root / f"change{number}"
        pivot, targets = family(here, layers, (size, 1.5 * size, 0.7 * size), mixed(number), seed=number)
        base, others = load(pivot), [load(folder) for folder in targets.values()]
        total += sum(v.size for v in base.values())
        given = {"dare_linear": masks, "dare_ties": masks, "fisher": fisher}
        given["della"] = della_masks(here / "della-masks", base, others, layers, numbers)
        chosen = {
            n: c for n, c in cases(numbers, tuple(map(str, folders))).items() if n in names or not names
        }
        made = run_theirs(here, pivot, targets, chosen, "bfloat16") if with_mergekit else {}
        for name, case in chosen.items():
            used = dict(list(targets.items())[: case.targets])
            merge_models(pivot, used, case.method, here / name)
            wrong.setdefault(name, []).append(
                count_wrong(case, base, others, given.get(name, {}), here / name)
            )
            shutil.rmtree(here / name)
            if name in made:
                theirs.setdefault(name, []).append(count_wrong(case, base, others, {}, made[name]))
        shutil.rmtree(here)
    print(f"wrongly rounded of {total / 1e6:.1f} M elements, % (goal {100 * GOAL} %), {numbers}")
    print(f"  {'changes of':16}{''.join(f'{size:>10}' for size in CHANGES)}       all    halves")
    each = total / len(CHANGES)
    for name, counts in wrong.items():
        line = "".join(f"{100 * n.all / each:10.5f}" for n in counts)
        line += f"{100 * share(counts, total):10.5f}{100 * sum(n.halves for n in counts) / total:10.5f}"
        if name in theirs:
            line += "   mergekit" + "".join(f"{100 * n.all / each:7.2f}" for n in theirs[name])
        print(f"  {name:16}{line}", flush=True)
    return (
        {n: {"all": share(c, total), "halves": sum(w.halves for w in c) / total} for n, c in wrong.items()},
        {name: share(counts, total) for name, counts in theirs.items()},
    )


def share(counts: list[Wrong], total: int) -> float:
    return sum(n.all for n in counts) / total


def exponential(name: str, shape: tuple[int, ...], target: int) -> torch.Tensor:
    """Information between 1e-10 and 1e-7 or so, the same for the same tensor and target."""
    seed = int.from_bytes(hashlib.sha256(f"{name}/{target}".encode()).digest()[:4], "little")
    return torch.from_numpy(np.random.default_rng(seed).exponential(1e-8, shape).astype(np.float32))


def configuration(
    pivot: Path, targets: Mapping[str, Path], case: Case, name: str, dtype: str
) -> dict[str, object]:
    """mergekit's YAML (JSON is YAML) of a case."""
    models = []
    for j, path in enumerate(list(targets.values())[: case.targets]):
        own = {k: v[j] if isinstance(v, tuple) else v for k, v in case.each.items()}
        models.append({"model": str(path), **({"parameters": own} if own else {})})
    base = {None: {}, "pivot": {"base_model": str(pivot)}, "t0": {"base_model": str(targets["t0"])}}[
        case.base
    ]
    return {
        "merge_method": name,
        "models": models,
        **base,
        "parameters": dict(case.shared or {}),
        "dtype": dtype,
    }


def run_theirs(
    root: Path, pivot: Path, targets: Mapping[str, Path], chosen: Mapping[str, Case], dtype: str
) -> dict[str, Path]:
    """Run mergekit on all cases it has, in one process; configurations and results lie side by side."""
    made, jobs = {}, []
    (root / "theirs").mkdir()
    for name, case in chosen.items():
        if case.shared is not None:
            config = root / "theirs" / f"{name}.yaml"
            config.write_text(json.dumps(configuration(pivot, targets, case, name, dtype)))
            made[name] = root / "theirs" / name
            jobs.append([str(config), str(made[name]), "--no-copy-tokenizer", "--no-write-model-card"])
    code = (
        "import json,sys;from mergekit.scripts.run_yaml import main\n"
        "for job in json.loads(sys.argv[1]): main(job, standalone_mode=False)"
    )
    done = subprocess.run(
        [*mergekit_environment(), "-c", code, json.dumps(jobs)],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"mergekit failed:\n{done.stderr[-3000:]}")
    return made


def measure_equality(root: Path) -> dict[str, dict[str, float]]:
    """Root mean squares over that of the change: ours less mergekit's, from the same YAML files, and both less the reference."""
    figures: dict[str, dict[str, float]] = {}
    for label, dtype in (("bf16_targets", torch.bfloat16), ("fp32_targets", torch.float32)):
        here, chosen = root / label, cases(BINARY)
        pivot, targets = family(here, 2, (2e-3, 4e-3, 6e-3), lambda dtype=dtype: dtype)  # type: ignore[misc]
        base, others = load(pivot), [load(folder) for folder in targets.values()]
        for name, theirs in run_theirs(here, pivot, targets, chosen, "float32").items():
            out, case = here / "ours" / name, chosen[name]
            run_mergekit(here / "theirs" / f"{name}.yaml", out, settings=Settings(dtype="float32"))
            mine, other, sums = load(out), load(theirs), np.zeros(4)
            for tensor, start in base.items():
                stacked = np.stack([t[tensor] for t in others[: case.targets]])
                right = case.expected(start, stacked, None)
                a, b = mine[tensor].astype(np.float64), other[tensor].astype(np.float64)
                sums += [((x - y) ** 2).sum() for x, y in ((right, start), (a, b), (a, right), (b, right))]
            apart = np.sqrt(sums[1:] / sums[0])
            figures.setdefault(name, {})[label] = float(apart[0])
            figures[name] |= {
                f"{who}_{label}": float(v) for who, v in zip(("ours", "mergekit"), apart[1:], strict=True)
            }
        shutil.rmtree(here)
    print(
        "rms difference over rms change at float32: ours and mergekit, ours and the reference, mergekit and the reference"
    )
    for name, values in figures.items():
        line = "".join(
            f"{value:10.0e}" + ("   " if n == 2 else "") for n, value in enumerate(values.values())
        )
        print(f"  {name:16}{line}", flush=True)
    return figures


def digests(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """SHA-256 of every weight file and index, and of every tensor."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.index.json")])
    tensors = {}
    for file in files:
        if file.suffix == ".safetensors":
            for name, tensor in load_file(file).items():
                raw = tensor.contiguous().view(torch.uint8).numpy()
                tensors[name] = f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(raw).hexdigest()}"
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}, tensors


def measure_same_bytes(root: Path, rows: int) -> dict[str, dict[str, int]]:
    """Threads 1, 2, 4 by one file and many, for every method; one tensor is large enough to be shared between threads."""
    rng = np.random.default_rng(3)
    shapes = {"model.embed_tokens.weight": (rows, 1000)}
    shapes |= {f"model.layers.{n}.mlp.up_proj.weight": (300, 701) for n in range(6)}
    shapes["model.norm.weight"] = (1000,)
    models: list[dict[str, torch.Tensor]] = [{}, {}, {}, {}]
    for name, shape in shapes.items():
        base = torch.from_numpy(rng.standard_normal(shape, np.float32)) * 0.02
        for j, model in enumerate(models):
            noise = torch.from_numpy(rng.standard_normal(shape, np.float32))
            model[name] = (base + 1e-3 * j * noise).to(torch.bfloat16)
    pivot = save(root / "pivot", models[0])
    targets = {f"t{j}": save(root / f"t{j}", model) for j, model in enumerate(models[1:])}
    information = tuple(
        str(save(root / f"fisher{j}", {name: v.abs() for name, v in model.items()}))
        for j, model in enumerate(models[1:])
    )
    figures = {}
    for name, kind in METHODS.items():
        method = kind(fisher=information) if name == "fisher" else kind()  # type: ignore[call-arg]
        used = dict(list(targets.items())[: kind.targets[1] or 3])
        seen: dict[int, tuple[dict[str, str], dict[str, str]]] = {}
        compared = differing = 0
        for shard_bytes in (5 * 10**9, 5 * 10**5):
            for threads in (1, 2, 4):
                out = root / "out"
                merge_models(pivot, used, method, out, threads=threads, shard_bytes=shard_bytes)
                files, tensors = digests(out)
                shutil.rmtree(out)
                if seen:
                    compared += 1
                    first = seen.get(shard_bytes, (files, next(iter(seen.values()))[1]))
                    differing += first != (files, tensors)
                seen.setdefault(shard_bytes, (files, tensors))
        assert len(seen[5 * 10**5][0]) > 5
        figures[name] = {"compared": compared, "differing": differing}
    print(f"same bytes: {sum(f['compared'] for f in figures.values())} runs compared, by threads and shard size, "
          f"{sum(f['differing'] for f in figures.values())} differ")  # fmt: skip
    return figures


def content(folder: Path) -> dict[str, bytes | object]:
    """All files of a merged model; the report without its seconds."""
    held: dict[str, bytes | object] = {}
    for path in sorted(folder.iterdir()):
        if path.name == REPORT:
            held[path.name] = json.loads(path.read_text()) | {"seconds": 0}
        else:
            held[path.name] = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else "a folder"
    return held


def start_merge(pivot: Path, targets: Mapping[str, Path], name: str, out: Path) -> subprocess.Popen[bytes]:
    """A process that merges with many durable steps, at the moment where the merge begins."""
    code = (
        "import json,sys;from pathlib import Path;from fusionchat.merge.stream import writer;"
        "from fusionchat.merge.methods import METHODS;from fusionchat.merge.stream.merge import merge_models;"
        f"writer._DURABLE_EVERY={DURABLE};a=json.loads(sys.argv[1]);print('ready',flush=True);"
        "merge_models(Path(a['pivot']),{k:Path(v) for k,v in a['targets'].items()},METHODS[a['method']](),"
        f"Path(a['out']),threads=2,shard_bytes={SHARD})"
    )
    given = {
        "pivot": str(pivot),
        "targets": {n: str(p) for n, p in targets.items()},
        "method": name,
        "out": str(out),
    }
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(given)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return process


def measure_kills(root: Path, size: str, kills: int = 20) -> dict[str, int]:
    """Kill merges at moments spread over the time they take, take each up once, compare with one that was left alone."""
    assert writer._DURABLE_EVERY > DURABLE, "the writer's setting has another name now"
    pivot, targets = make_models(root, size, 2)
    moments, figures = random.Random(4), {"killed": 0, "resumed_same": 0, "took_up_work": 0}
    for name in ("varm", "ties"):
        whole, out = root / f"{name}-whole", root / name
        seconds = []
        for _ in range(2):
            shutil.rmtree(whole, ignore_errors=True)
            process = start_merge(pivot, targets, name, whole)
            began = time.perf_counter()
            assert process.wait() == 0
            seconds.append(time.perf_counter() - began)
        expected = content(whole)
        shutil.rmtree(whole)
        done, part = 0, 1.0
        while done < kills // 2:
            process = start_merge(pivot, targets, name, out)
            time.sleep(part * (done + moments.random()) / (kills // 2) * min(seconds))
            process.send_signal(signal.SIGKILL)
            if process.wait() != -signal.SIGKILL or not (out / WORK / JOURNAL).is_file():
                part *= (
                    0.95 if (out / REPORT).is_file() else 1
                )  # it was finished, or had not begun: once more
                shutil.rmtree(out, ignore_errors=True)
                continue
            done, part = done + 1, 1.0
            steps: list[int] = []
            method, progress = make(name), steps.append
            merge_models(pivot, targets, method, out, threads=2, shard_bytes=SHARD, progress=progress)
            figures["killed"] += 1
            figures["took_up_work"] += steps[0] > 0  # the first step is what was there already
            result = content(out)
            figures["resumed_same"] += result == expected
            for differs in sorted(n for n in {**result, **expected} if result.get(n) != expected.get(n)):
                print(f"  {name}, kill {done}: {differs} differs")
            shutil.rmtree(out)
    print(f"kills: {figures}", flush=True)
    return figures


def first_byte(command: list[str], out: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds from a process's start to the first byte of a tensor in a file, and its peak private memory in MB."""
    shutil.rmtree(out, ignore_errors=True)
    began, found, peak = time.perf_counter(), 0.0, 0
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE)
    while process.poll() is None:
        if not found and has_begun(out):
            found = time.perf_counter() - began
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            break
        peak = max(peak, next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0))
        time.sleep(0.002)
    _, error = process.communicate()
    if process.returncode or not found:
        raise RuntimeError(f"a merge failed:\n{error.decode()[-3000:]}")
    return found, peak / 1024


def has_begun(out: Path) -> bool:
    """Whether a weight file of an unfinished merge holds more than its header."""
    with suppress(FileNotFoundError):
        for path in (out / WORK).glob("*.safetensors"):
            with path.open("rb") as file:
                head = file.read(8)
                if len(head) == 8 and os.fstat(file.fileno()).st_size > 8 + int.from_bytes(head, "little"):
                    return True
    return False


def measure_first_byte(root: Path, size: str) -> dict[str, object]:
    pivot, targets = make_models(root / "models", size, 2)
    seconds: dict[str, float] = {}
    memory: dict[str, float] = {}
    for name in ("linear", "varm", "ties"):
        command = ours(pivot, targets, root / "out", name, 0)
        runs = [first_byte(command, root / "out", {}) for _ in range(3)]
        seconds[name], memory[name] = min(r[0] for r in runs), max(r[1] for r in runs)
    empty = {"NUMBA_CACHE_DIR": str(root / "numba")}
    uncached, _ = first_byte(ours(pivot, targets, root / "out", "varm", 0), root / "out", empty)
    parameters = sum(int(np.prod(shape)) for shape in shapes_of(size).values())
    print(f"first byte at {parameters / 1e9:.2f} B parameters: "
          + ", ".join(f"{n} {s:.2f} s ({memory[n]:.0f} MB)" for n, s in seconds.items())
          + f"; varm without compiled kernels {uncached:.1f} s", flush=True)  # fmt: skip
    return {"first_byte_s": seconds, "first_byte_uncached_s": uncached, "memory_mb": memory}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="under two minutes")
    parser.add_argument("--mergekit", action="store_true", help="compare with mergekit too")
    parser.add_argument("--folder", type=Path, default=None, help="where to make the temporary folder")
    arguments = parser.parse_args()
    quick = arguments.quick
    layers, rows, deep, size = (1, 4501, "0.05B deep", "0.1B") if quick else (6, 20_001, "0.1B deep", "0.5B")
    root = Path(tempfile.mkdtemp(prefix="fusionchat-correct-", dir=arguments.folder))
    figures: dict[str, object] = {}
    try:
        mine, theirs = measure_rounding(root / "binary", layers, BINARY, (), arguments.mergekit)
        figures["wrongly_rounded"] = {name: figure["all"] for name, figure in mine.items()}
        if not quick:
            figures["wrongly_rounded_decimal"] = measure_rounding(
                root / "decimal", layers, DECIMAL, WEIGHTED
            )[0]
        if arguments.mergekit:
            figures["mergekit_wrongly_rounded"] = theirs
            figures["equal_to_mergekit"] = measure_equality(root / "equal")
        figures["same_bytes"] = measure_same_bytes(root / "same", rows)
        figures["kills"] = measure_kills(root / "kills", deep)
        figures |= measure_first_byte(root / "first", size)
    finally:
        shutil.rmtree(root)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
