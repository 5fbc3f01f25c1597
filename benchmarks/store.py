"""The store: bytes a token, speed with every block checked, and what becomes of damage and of kills.

    python -m benchmarks.store [--quick] [--capture RUN/represent/MODEL]

One core; ours and the baseline in this run, times the best of several. The last line is one JSON object:

- ``bytes_per_token``: all bytes of a capture's shards and of the file of its tokens, but for the ids of the text themselves, over
  the supervised tokens; k = 10. ``v65k``: a vocabulary up to 65,536; ``v152k``: a larger one; ``zstd_u8``: 49,152 tokens, 8-bit
  log-probabilities, zstd. Rows are invented with a real capture's statistics (`benchmarks.store_data`). With ``--capture`` they
  are that capture's for the figures of its kind of vocabulary.
- ``read_rows_per_s``: rows a second of one core's time, all columns, checksums compared, every byte touched again.
- ``write_rows_per_s``: rows a second of wall time, from arrays to flushed files.
- ``conversation_ms``: from no store open to one conversation among a million rows, its blocks checked: the mean of 100 of them.
- ``corruptions_made``, ``corruptions_found``: see `benchmarks.store_damage`.

The baseline is what was done before: int32 ids in safetensors, SHA-256 of a whole file when it is first touched. Without
``--quick``, `benchmarks.kill` follows: captures killed 50 times.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from benchmarks.store_damage import corrupt
from benchmarks.store_data import Rows, captured, invented
from fusionchat.artifacts import atomic_path, sha256_file
from fusionchat.corpus.rendered_part import write_rendered
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.store.layout import SHARDS, Encoding
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import write_store
from fusionchat.represent.topk import TopK

ROWS, SHARD = 1_000_000, 2**16
SMALL, LARGE = 49_152, 151_936


def best(work: Callable[[], object], clock: Callable[[], float], times: int = 5) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    work()
    spent = []
    for _ in range(times):
        start = clock()
        work()
        spent.append(clock() - start)
    return min(spent)


def size(rows: Rows, encoding: Encoding, folder: Path) -> float:
    """Bytes a supervised token of a store and of its tokens' file, without the text's ids."""
    shutil.rmtree(folder, ignore_errors=True)
    write_store(folder, rows.scored, rows=SHARD, encoding=encoding)
    write_rendered(folder / "tokens", rows.rendered)
    wide = 2 if rows.rendered.input_ids.max() < 2**16 else 4
    total = sum(path.stat().st_size for path in folder.iterdir()) - wide * len(rows.rendered.input_ids)
    return total / rows.scored.topk.rows


def old_size(rows: Rows, folder: Path) -> float:
    """The same as it was before."""
    shutil.rmtree(folder, ignore_errors=True)
    write_old(rows, folder)
    part = rows.rendered
    save_file(
        {"input_ids": part.input_ids, "starts": part.starts, "places": part.places, **vars(part.supervised)},
        folder / "tokens",
    )
    total = sum(path.stat().st_size for path in folder.iterdir()) - part.input_ids.nbytes
    return total / rows.scored.topk.rows


def write_old(rows: Rows, folder: Path) -> None:
    """Shards as they were: four arrays and the label's log-probability, flushed."""
    folder.mkdir(parents=True, exist_ok=True)
    own = rows.scored
    for number, (low, high) in enumerate(pairwise([*range(0, own.topk.rows, SHARD), own.topk.rows])):
        part = own.topk.slice(low, high)
        arrays = {f.name: np.ascontiguousarray(getattr(part, f.name)) for f in fields(TopK)}
        with atomic_path(folder / f"shard-{number:05d}.safetensors") as partial:
            save_file(arrays | {"label_logprob": own.label_logprob[low:high]}, partial)


def touch(array: np.ndarray) -> int:
    """Read every byte of an array."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return int(np.bitwise_xor.reduce(flat[: flat.size // 8 * 8].view(np.uint64))) + int(flat[-1])


def read_all(folder: Path) -> None:
    """Every shard's distributions and labels, checked and touched."""
    store = DistributionStore(folder)
    for members, topk in store.shards():
        for array in (topk.ids, topk.logprobs, topk.tail, topk.present):
            touch(array)
        touch(store.column("label_logprob", members.start, members.stop))


def read_old(folder: Path) -> None:
    """The same of old shards, the checksum of each file taken anew."""
    for path in sorted(folder.glob(SHARDS)):
        sha256_file(path)
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                touch(file.get_tensor(name).numpy())


def conversation_ms(folder: Path, tokens: SupervisedTokens, old: bool) -> float:
    """Milliseconds from nothing open to one conversation's rows, the mean of 100 conversations, each the best of 3."""
    rng, spent = np.random.default_rng(0), []
    paths = sorted(folder.glob(SHARDS))
    for conversation in rng.integers(0, tokens.conversations, 100).tolist():
        low, high = tokens.offsets[conversation : conversation + 2].tolist()

        def ours(index: int = conversation) -> None:
            DistributionStore(folder)[index]

        def before(low: int = low, high: int = high) -> None:
            path = paths[min(low // SHARD, len(paths) - 1)]
            sha256_file(path)
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (no mapping)
                    file.get_tensor(name).numpy()[low % SHARD : low % SHARD + high - low]

        spent.append(best(before if old else ours, time.perf_counter, 1 if old else 3))
    return 1000 * float(np.mean(spent))


def sizes(folder: Path, capture: Path | None, rows: Rows) -> dict[str, float]:
    """Bytes a token in each encoding, beside those before."""
    own = captured(capture) if capture is not None else None
    found = {}
    for key, vocabulary, encoding in (
        ("v65k", SMALL, Encoding(SMALL)),
        ("v152k", LARGE, Encoding(LARGE)),
        ("zstd_u8", SMALL, Encoding(SMALL, "uint8", "zstd")),
        ("zstd_u8, v152k", LARGE, Encoding(LARGE, "uint8", "zstd")),
    ):
        small = vocabulary <= 2**16
        real = own is not None and (own.vocabulary <= 2**16) == small
        part = own if real and own is not None else rows if small else invented(100_000, LARGE)
        held = Encoding(part.vocabulary, encoding.logprobs, encoding.compression)
        found[key] = round(size(part, held, folder / "size"), 2)
        print(
            f"  {key:16} {found[key]:6.2f} bytes a token, {old_size(part, folder / 'old'):.2f} before ({part.name})"
        )
    return {key: found[key] for key in ("v65k", "v152k", "zstd_u8")}


def speeds(folder: Path, rows: Rows) -> dict[str, float]:
    """Reading, writing and looking up, beside the baseline."""
    n, tokens = rows.scored.topk.rows, rows.scored.tokens
    plain, packed, old = Encoding(SMALL), Encoding(SMALL, "uint8", "zstd"), folder / "before"

    def write(encoding: Encoding, name: str) -> None:
        write_store(folder / name, rows.scored, rows=SHARD, encoding=encoding)

    writing = [
        n / best(work, time.perf_counter)
        for work in (
            lambda: write(plain, "plain"),
            lambda: write(packed, "packed"),
            lambda: write_old(rows, old),
        )
    ]
    reading = [
        n / best(work, time.process_time)
        for work in (
            lambda: read_all(folder / "plain"),
            lambda: read_all(folder / "packed"),
            lambda: read_old(old),
        )
    ]
    looking = [
        conversation_ms(folder / "plain", tokens, False),
        conversation_ms(folder / "packed", tokens, False),
        conversation_ms(old, tokens, True),
    ]
    for what, unit, (ours, small, before) in (
        ("write", "M rows/s", [value / 1e6 for value in writing]),
        ("read", "M rows/s a core", [value / 1e6 for value in reading]),
        ("conversation", "ms", looking),
    ):
        times = before / ours if unit == "ms" else ours / before
        print(
            f"  {what:16} {ours:.3g} {unit}; uint8 and zstd {small:.3g}; before {before:.3g} ({times:.1f} times)"
        )
    return {
        "read_rows_per_s": round(reading[0]),
        "write_rows_per_s": round(writing[0]),
        "conversation_ms": round(looking[0], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="without the kills, which take minutes")
    parser.add_argument("--capture", type=Path, help="a finished capture, RUN/represent/MODEL")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), invented(ROWS, SMALL)
        figures: dict[str, object] = {"bytes_per_token": sizes(folder, asked.capture, rows)}
        figures |= speeds(folder, rows)
        outcome = corrupt(folder / "damage", rows.scored.slice(0, 60))
        made, found = outcome.made.total(), outcome.found.total()
        print(f"  changed bytes: {found} of {made} found, {outcome.mended} made good to the bit, in")
        print("    " + "; ".join(f"{kind} {count}" for kind, count in outcome.made.items()))
    if not asked.quick:
        from benchmarks.kill import killed

        print(f"  {killed(50)}")
    print(json.dumps(figures | {"corruptions_made": made, "corruptions_found": found}))


if __name__ == "__main__":
    main()
