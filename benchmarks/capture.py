"""How near a capture is to its floor, the bare forward pass, on this CPU.

    python -m benchmarks.capture [--quick] [--tokens N]

A model with SmolLM2-135M's structure and random weights scores conversations of random tokens, half of them supervised, with
a vocabulary of 49,152 and of 151,936 tokens, in float32 and in bfloat16. All on one thread, in processor time, least of
the rounds; the machine should be quiet.

- ``of_floor``: the floor's time over the capture's. The floor is the body on length-sorted batches, the head's product and
  one pass over the logits, each alone, by plain transformers and PyTorch (`benchmarks.capture_floor`).
- ``over_60dfd0c``: the time of that commit's loop (`benchmarks.capture_before`) over the capture's on the same text:
  ``v49k`` with the dtype that each of the two takes by itself, ``v49k_fp32`` and ``v49k_bf16`` with the same for both.
- ``extra_mb``: memory beside the model at full batches, each case in a process of its own
  (`benchmarks.capture_memory`).
- ``selection_over_topk``, ``selection_over_pass``: ``topk`` + ``logsumexp`` over the selection, and the selection over
  ``amax`` + ``exp().sum()``, at 152 k, each in its best chunk.
- ``ms_a_token``: the capture, the floor's three parts and the loop of before.

Prints the table of docs/results/capture.md; the last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from benchmarks.capture_before import before
from benchmarks.capture_case import LAYERS, K, made_head, made_text, ours
from benchmarks.capture_floor import floor, least
from fusionchat.models.precision import capture_dtype_here
from fusionchat.represent.batching import ON_CPU
from fusionchat.represent.select import select

SIZES = {"v49k": 49_152, "v152k": 151_936}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MEMORY, QUICK_MEMORY = (LAYERS, 2), (2, 1)
"""Layers and full batches that memory is measured with: no more than one layer's activations are there at once."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1,000 tokens, one round: under a minute")
    parser.add_argument("--tokens", type=int, default=0, help="tokens of the text")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the body; fewer to try the benchmark")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tokens, rounds = asked.tokens or (1000 if asked.quick else 8000), 1 if asked.quick else 3
    layers, batches = QUICK_MEMORY if asked.quick else MEMORY
    print(json.dumps(measure(tokens, rounds, asked.layers, (min(layers, asked.layers), batches))))


def measure(tokens: int, rounds: int, layers: int, memory: tuple[int, int]) -> dict[str, object]:
    """All figures."""
    cases = [(size, dtype) for size in SIZES for dtype in DTYPES]
    with ThreadPoolExecutor(2) as two:  # memory does not depend on what runs beside
        megabytes = two.map(lambda case: extra_mb(SIZES[case[0]], DTYPES[case[1]], *memory), cases)
        extra = {f"{size}_{dtype}": each for (size, dtype), each in zip(cases, megabytes, strict=True)}
    times = {f"{size}_{dtype}": time_case(tokens, rounds, layers, size, dtype) for size, dtype in cases}
    of_floor = {case: (t["body"] + t["product"] + t["pass"]) / t["capture"] for case, t in times.items()}
    same = {case: t["before"] / t["capture"] for case, t in times.items()}
    auto = "bf16" if capture_dtype_here("cpu", [None]) == "bfloat16" else "fp32"
    own = {size: times[f"{size}_fp32"]["before"] / times[f"{size}_{auto}"]["capture"] for size in SIZES}
    bf16 = {size: times[f"{size}_fp32"]["capture"] / times[f"{size}_bf16"]["capture"] for size in SIZES}
    show_table(
        times, {"share of the floor": of_floor, "times 60dfd0c, same dtype": same, "memory, MB": extra}
    )
    print(f"Each in its own dtype (float32; {auto}): {rounded(own)} times 60dfd0c")
    print(
        f"bfloat16: {rounded(bf16)} times float32; memory with {memory[0]} layers and {memory[1]} full batches"
    )
    topk, one_pass = selection(SIZES["v152k"], 5 + 5 * rounds)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    return {
        "of_floor": rounded(of_floor),
        "over_60dfd0c": rounded(own | same),
        "bf16_over_fp32": round(min(bf16.values()), 2) if amx else None,
        "selection_over_topk": round(topk, 2),
        "selection_over_pass": round(one_pass, 2),
        "extra_mb": extra,
        "ms_a_token": {case: rounded(t) for case, t in times.items()},
    }


def time_case(tokens: int, rounds: int, layers: int, size: str, dtype: str) -> dict[str, float]:
    """Processor time in ms a token: of the capture, of the three parts of its floor, and of the loop of before."""
    head, text = made_head(SIZES[size], layers, DTYPES[dtype]), made_text(tokens, SIZES[size])
    ours(head, made_text(16, SIZES[size]))  # compiles
    capture = least(lambda: ours(head, text), rounds)
    least_of = floor(head.model, [one.input_ids for one in text], len(text.places), ON_CPU, rounds)
    was = least(lambda: before(head, text, K), rounds)
    names = ("capture", "body", "product", "pass", "before")
    found = {name: 1e3 * s / tokens for name, s in zip(names, (capture, *least_of, was), strict=True)}
    print(f"{size} {dtype}, ms a token: {rounded(found)}", flush=True)
    return found


def extra_mb(vocabulary: int, dtype: torch.dtype, layers: int, batches: int) -> int:
    """Memory of a capture beside its model, measured in a process of its own."""
    name = str(dtype).removeprefix("torch.")
    command = [
        sys.executable,
        "-m",
        "benchmarks.capture_memory",
        str(vocabulary),
        name,
        "--layers",
        str(layers),
        "--batches",
        str(batches),
    ]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def show_table(times: dict[str, dict[str, float]], others: dict[str, dict[str, float]]) -> None:
    """The figures as Markdown, a column a case."""
    print("| |", *(f"{case.replace('_', ' ')} |" for case in times))
    print("|---|" + "---|" * len(times))
    for name in next(iter(times.values())):
        print(f"| {name}, ms a token |", *(f"{t[name]:.2f} |" for t in times.values()))
    for name, held in others.items():
        print(f"| {name} |", *(f"{held[case]:.3g} |" for case in times))


def rounded(held: dict[str, float]) -> dict[str, float]:
    """Values with three places."""
    return {name: round(value, 3) for name, value in held.items()}


@torch.inference_mode()
def selection(vocabulary: int, rounds: int) -> tuple[float, float]:
    """``topk`` + ``logsumexp`` over ours, and ours over one pass; each at the chunk that is best for it."""
    best = dict.fromkeys(("ours", "topk", "pass"), float("inf"))
    for rows in (1, 4, 16, 48):
        logits, labels = torch.randn(rows, vocabulary) * 3, torch.zeros(rows, dtype=torch.long)
        kinds: dict[str, Callable[[], object]] = {
            "ours": lambda logits=logits, labels=labels: select(logits, labels, K),
            "topk": lambda logits=logits: (logits.topk(K), logits.logsumexp(1)),
            "pass": lambda logits=logits: (logits.amax(1), logits.exp().sum(1)),
        }
        # What ours leaves are the rest of the logits: as many to compare and to add up again.
        for kind in ("topk", "pass", "ours"):
            best[kind] = min(best[kind], least(kinds[kind], rounds) / rows)
    return best["topk"] / best["ours"], best["ours"] / best["pass"]


if __name__ == "__main__":
    main()
