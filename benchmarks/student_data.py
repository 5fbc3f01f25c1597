"""A training's data: memory and speed with distributions mapped (what `distill` does) and with all of them in memory.

    python -m benchmarks.student_data [--rows 2000000] [--k 10]

Both read the same invented shards in a process of their own, in the random order of one epoch. ``private_mb`` is the most private
memory above what the process had before it opened the data: pages of mapped files are not in it, the system can take them back.
``all in memory`` is what was done before: shards read and concatenated, rows gathered by index. The last line is one JSON object.
"""

import argparse
import json
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import join, read_rendered, write_rendered
from fusionchat.distill.batching import MicroBatch, plan_steps
from fusionchat.distill.data import StudentData
from fusionchat.represent.store.cut import cut
from fusionchat.represent.store.layout import SHARDS, Encoding
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter
from fusionchat.represent.topk import TopK

TOKENS = "tokens.safetensors"
WAYS = ("all in memory", "mapped")


def make(folder: Path, rows: int, k: int) -> None:
    """Invented shards with about ``rows`` rows, and the tokens that they are of; a third of the tokens is supervised."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(30, 150, rows // 90)
    rendered = []
    for size in sizes:
        places = np.arange(2 * size, 3 * size, dtype=np.int32)
        zero = np.zeros(size, np.int32)
        rendered.append(
            Rendered(rng.integers(0, 32_000, 3 * size).astype(np.int32), places, zero, zero, zero)
        )
    part = join(rendered)
    write_rendered(folder / TOKENS, part)
    offsets = part.supervised.offsets
    writer = StoreWriter(folder, offsets, cut(offsets, 2**16), Encoding(32_000))
    for index, members in enumerate(writer.ranges):
        n = int(sizes[members.start : members.stop].sum())
        ids = rng.integers(0, 32_000, (n, k)).astype(np.int32)
        logprobs = rng.normal(-4, 1, (n, k)).astype(np.float16)
        writer.write(index, TopK(ids, logprobs, np.full(n, -3, np.float16), np.ones(n, bool)))


class Whole:
    """All distributions in memory, the rows of a conversation gathered by index."""

    def __init__(self, folder: Path, offsets: np.ndarray) -> None:
        shards = [load_file(path) for path in sorted(folder.glob(SHARDS))]
        names = ("ids", "logprobs", "tail")
        arrays = [np.concatenate([shard[name] for shard in shards]) for name in names]
        self.topk = TopK(*arrays, present=np.ones(len(arrays[0]), bool))
        self.offsets = offsets

    def __getitem__(self, conversation: int) -> TopK:
        rows = np.arange(self.offsets[conversation], self.offsets[conversation + 1])
        own = self.topk
        return TopK(own.ids[rows], own.logprobs[rows], own.tail[rows], own.present[rows])


def private_mb() -> float:
    """This process's private memory now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) / 1024


def measure(folder: Path, way: str) -> dict[str, float]:
    """Rows per second of making an epoch's tensors, and the most private memory meanwhile."""
    rendered = read_rendered(folder / TOKENS)
    plan = plan_steps(
        np.diff(rendered.offsets).tolist(),
        rendered.lengths.tolist(),
        epochs=1,
        batch_size=64,
        micro_tokens=4096,
        seed=0,
    )
    before, most, stop = private_mb(), [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            most[0] = max(most[0], private_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    offsets = rendered.offsets
    soft = Whole(folder, offsets) if way == "all in memory" else DistributionStore(folder)
    seconds = min(epoch(StudentData(rendered, soft, plan), plan) for _ in range(3))
    stop.set()
    watcher.join()
    return {
        "rows_per_s": round(int(offsets[-1]) / seconds),
        "private_mb": round(max(most[0] - before, 0.0), 1),
    }


def epoch(data: StudentData, plan: list[list[MicroBatch]]) -> float:
    """Seconds to make all tensors once."""
    started = time.process_time()
    for index in range(len(plan)):
        data[index]
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--k", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, asked.rows, asked.k)
        figures = {}
        for way in WAYS:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                figures[way] = pool.submit(measure, folder, way).result()
            print(f"  {way:16} {figures[way]}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
