"""Merging against the floor (one read of the inputs and one write), and against mergekit.

    python -m benchmarks.merge [--quick] [--mergekit] [--targets 2] [--folder FOLDER]

Makes a pivot and targets of 0.5 B parameters in bfloat16 (``--quick``: 0.1 B) in a temporary folder. Every method is
timed on one core (the process is pinned to it) with a warm page cache, after imports and compilation; the floor is
timed before each of them, and the least one counts. Our times include the SHA-256 of the output and the flush to
disk; the floor includes the flush. ``--mergekit`` makes a virtual environment for mergekit (``MERGEKIT_PYTHON`` names
one that exists) and compares whole processes, start to end, with their default number of threads.
"""

import argparse
import json
import mmap
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEP = 2**22
METHODS = ("linear", "varm", "task_arithmetic", "ties", "dare_linear", "sce", "della")
AGAINST = ("linear", "task_arithmetic", "ties", "dare_linear", "sce")
SETTINGS = {
    "ties": {"density": 0.2},
    "dare_linear": {"density": 0.5},
    "della": {"density": 0.5},
    "sce": {"select_topk": 0.1},
}
SIZES = {  # hidden, intermediate, layers, key-value width, vocabulary
    "0.1B": (512, 2048, 12, 128, 100_000),
    "0.3B": (896, 3072, 18, 128, 140_000),
    "0.5B": (896, 4864, 24, 128, 151_936),
    "1.5B": (1536, 8960, 28, 256, 151_936),
}


def shapes_of(size: str) -> dict[str, tuple[int, ...]]:
    """Parameters of a model with Qwen2's layout and tied embeddings."""
    hidden, inner, layers, narrow, vocabulary = SIZES[size]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for n in range(layers):
        at = f"model.layers.{n}"
        for part, rows in (("q", hidden), ("k", narrow), ("v", narrow), ("o", hidden)):
            shapes[f"{at}.self_attn.{part}_proj.weight"] = (rows, hidden)
            if part != "o":
                shapes[f"{at}.self_attn.{part}_proj.bias"] = (rows,)
        shapes |= {f"{at}.mlp.gate_proj.weight": (inner, hidden), f"{at}.mlp.up_proj.weight": (inner, hidden)}
        shapes |= {f"{at}.mlp.down_proj.weight": (hidden, inner)}
        shapes |= {f"{at}.{kind}_layernorm.weight": (hidden,) for kind in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,)}


def to_bf16(values: np.ndarray) -> np.ndarray:
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def make_models(root: Path, size: str, targets: int) -> tuple[Path, dict[str, Path]]:
    """Write a pivot (normal, deviation 0.02) and targets (changes of 1e-3, 2e-3 ...), all in bfloat16."""
    shapes = shapes_of(size)
    hidden, inner, layers, narrow, vocabulary = SIZES[size]
    config = {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": hidden, "vocab_size": vocabulary,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": hidden // 64,
        "num_key_value_heads": narrow // 64, "tie_word_embeddings": True, "dtype": "bfloat16",
    }  # fmt: skip
    header, at = {}, 0
    for name, shape in shapes.items():
        end = at + 2 * int(np.prod(shape))
        header[name], at = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}, end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folders = [root / name for name in ("pivot", *(f"t{j}" for j in range(targets)))]
    files = []
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        files.append((folder / "model.safetensors").open("wb"))
        files[-1].write(struct.pack("<Q", len(text)) + text)
    rng = np.random.default_rng(0)
    pool = rng.standard_normal(
        STEP + 1_000_003, dtype=np.float32
    )  # cut at random places: fast, and normal enough
    for begin in range(0, at // 2, STEP):
        count = min(STEP, at // 2 - begin)
        base = 0.02 * pool[(o := int(rng.integers(1_000_003))) : o + count]
        files[0].write(to_bf16(base).tobytes())
        for j, file in enumerate(files[1:]):
            o = int(rng.integers(1_000_003))
            file.write(to_bf16(base + 1e-3 * (j + 1) * pool[o : o + count]).tobytes())
    for file in files:
        file.close()
    return folders[0], {folder.name: folder for folder in folders[1:]}


def floor_seconds(folders: list[Path], out: Path) -> float:
    """Seconds for one memory-mapped read of all inputs and one write of the size of the first, flushed to disk."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    began, total = time.perf_counter(), 0
    for folder in folders:
        with (
            (folder / "model.safetensors").open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        ):
            values = np.frombuffer(view, np.uint64, len(view) // 8)
            for begin in range(0, values.size, STEP):
                total ^= int(values[begin : begin + STEP].sum())
            del values
    chunk = np.full(STEP, total, np.uint64).view(np.uint8)
    left = (folders[0] / "model.safetensors").stat().st_size
    with (out / "model.safetensors").open("wb") as file:
        while left > 0:
            left -= file.write(chunk[: min(left, chunk.size)])
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - began


def measure_floor_ratios(
    pivot: Path, targets: dict[str, Path], out: Path, repeats: int
) -> tuple[float, dict[str, float]]:
    """The floor, and each method's seconds over it: the least of interleaved runs in one process on one thread.

    All methods are divided by the least floor of the whole run: what the kernel pays for page cache varies by a factor
    of four within minutes on a virtual machine, and a method measured beside an expensive floor would look fast.
    """
    from fusionchat.merge.methods import METHODS as CLASSES
    from fusionchat.merge.stream.merge import merge_models

    folders, floors = [pivot, *targets.values()], []
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    busy: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(repeats):
        for name in METHODS:
            floors.append(floor_seconds(folders, out))
            shutil.rmtree(out)
            method = CLASSES[name](**SETTINGS.get(name, {}))
            began, begun = time.perf_counter(), time.process_time()
            merge_models(pivot, targets, method, out, threads=1)
            seconds[name].append(time.perf_counter() - began)
            busy[name].append(time.process_time() - begun)
            shutil.rmtree(out)
    floor = min(floors)
    ratios = {name: min(seconds[name]) / floor for name in METHODS}
    print(f"  floor {floor:.2f} s (median {statistics.median(floors):.2f} s, largest {max(floors):.2f} s)")
    for name in METHODS:
        print(
            f"  {name:16} {min(seconds[name]):7.2f} s   {ratios[name]:6.2f} x floor   processor {min(busy[name]):6.2f} s",
            flush=True,
        )
    return floor, ratios


def ours(pivot: Path, targets: dict[str, Path], out: Path, method: str, threads: int = 1) -> list[str]:
    """A whole process of our merge, as an argument list."""
    code = (
        "import json,sys;from pathlib import Path;from fusionchat.merge.methods import METHODS;"
        "from fusionchat.merge.stream.merge import merge_models;a=json.loads(sys.argv[1]);"
        "merge_models(Path(a['pivot']),{k:Path(v) for k,v in a['targets'].items()},"
        "METHODS[a['method']](**a['settings']),Path(a['out']),threads=a['threads'],overwrite=True)"
    )
    names = {name: str(path) for name, path in targets.items()}
    given = {
        "pivot": str(pivot),
        "targets": names,
        "method": method,
        "settings": SETTINGS.get(method, {}),
        "out": str(out),
    }
    return [sys.executable, "-c", code, json.dumps({**given, "threads": threads})]


def watch(command: list[str]) -> tuple[float, float]:
    """Run a process; its seconds and the peak of its private (anonymous) memory in MB."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(
                peak,
                next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0),
            )
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(0.005)
    _, error = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[:4]} failed:\n{error.decode()[-3000:]}")
    return time.perf_counter() - began, peak / 1024


def mergekit_environment() -> list[str]:
    """A Python with mergekit: ``MERGEKIT_PYTHON``, or a virtual environment made in the user's cache."""
    if given := os.environ.get("MERGEKIT_PYTHON"):
        return [given]
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fusionchat" / "mergekit"
    python = folder / "bin" / "python"
    if not (folder / ".ready").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for package in ("torch==2.13.0", "mergekit"):
            pip = [str(python), "-m", "pip", "install", "-q", package]
            done = subprocess.run(pip, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"mergekit cannot be installed:\n{done.stderr[-3000:]}")
        (folder / ".ready").touch()
    return [str(python)]


def mergekit_config(pivot: Path, targets: dict[str, Path], method: str) -> dict[str, object]:
    """mergekit's YAML (JSON is YAML) for the same merge."""
    each: dict[str, float] = {} if method == "sce" else {"weight": 1.0}
    shared: dict[str, float] = {}
    for key, value in SETTINGS.get(method, {}).items():
        (shared if key == "select_topk" else each)[key] = value
    models = [{"model": str(path), **({"parameters": each} if each else {})} for path in targets.values()]
    base = {} if method == "linear" else {"base_model": str(pivot)}
    return {"merge_method": method, "models": models, **base, "parameters": shared, "dtype": "bfloat16"}


def measure_mergekit(pivot: Path, targets: dict[str, Path], root: Path) -> dict[str, float]:
    """mergekit's seconds over ours: whole processes with their default number of threads and a warm cache.

    The least of three runs, of two where mergekit needs more than 30 s.
    """
    python, ratios = mergekit_environment(), {}
    code = "from mergekit.scripts.run_yaml import main; main()"
    for method in AGAINST:
        config = root / f"{method}.yaml"
        config.write_text(json.dumps(mergekit_config(pivot, targets, method)))
        command = [
            *python,
            "-c",
            code,
            str(config),
            str(root / "mergekit"),
            "--no-copy-tokenizer",
            "--no-write-model-card",
        ]
        mine, theirs = [], []
        while len(theirs) < 2 or (len(theirs) < 3 and min(theirs)[0] < 30):
            mine.append(watch(ours(pivot, targets, root / "ours", method, 0)))
            theirs.append(watch(command))
            shutil.rmtree(root / "ours")
            shutil.rmtree(root / "mergekit")
        (fast, _), (slow, memory) = min(mine), min(theirs)
        ratios[method] = slow / fast
        print(
            f"  {method:16} ours {fast:6.2f} s  mergekit {slow:7.2f} s ({memory:.0f} MB)   {ratios[method]:6.1f} x",
            flush=True,
        )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="0.1 B parameters, under a minute")
    parser.add_argument("--mergekit", action="store_true", help="measure mergekit too")
    parser.add_argument("--targets", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="where to make the temporary folder")
    arguments = parser.parse_args()
    small, large = ("0.1B", "0.3B") if arguments.quick else ("0.5B", "1.5B")
    if arguments.mergekit:
        mergekit_environment()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    root = Path(tempfile.mkdtemp(prefix="fusionchat-merge-", dir=arguments.folder))
    figures: dict[str, object] = {}
    try:
        print(f"pivot and {arguments.targets} targets of {small}, bfloat16, one thread")
        pivot, targets = make_models(root / small, small, arguments.targets)
        warm = (
            make_models(root / "warm", "0.1B", arguments.targets) if not arguments.quick else (pivot, targets)
        )
        for method in METHODS:  # compile the kernels, which is cached on disk
            watch(ours(*warm, root / "out", method))
        figures["floor_s"], figures["over_floor"] = measure_floor_ratios(
            pivot, targets, root / "out", 2 if arguments.quick else 3
        )
        if arguments.mergekit:
            print("against mergekit, whole processes")
            os.sched_setaffinity(0, cores)
            figures["mergekit"] = measure_mergekit(pivot, targets, root)
        memory = {"small": watch(ours(pivot, targets, root / "out", "ties"))[1]}
        shutil.rmtree(root / small)
        pivot, targets = make_models(root / large, large, arguments.targets)
        memory["large"] = watch(ours(pivot, targets, root / "out", "ties"))[1]
        print(
            f"private memory: {memory['small']:.0f} MB at {small}, {memory['large']:.0f} MB at {large} (TIES)"
        )
        figures["private_mb"] = memory
    finally:
        shutil.rmtree(root)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
