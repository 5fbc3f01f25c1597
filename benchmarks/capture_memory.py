"""Memory of a capture beside its model, in MB, in a process that does nothing else.

    python -m benchmarks.capture_memory 151936 bfloat16 [--layers 30] [--batches 2]

The model and its imports are there, a tiny capture has compiled the loops, and memory that is free has gone back to the
system; then some batches of 2,048 tokens, all full, half of them supervised, are captured. Printed is by how much the
process has grown at most, looked at every millisecond.
"""

import argparse
import ctypes
import gc
import threading
from collections.abc import Callable

import psutil
import torch

from benchmarks.capture_case import made_head, ours, text_of
from fusionchat.represent.batching import ON_CPU

LENGTH = 256
"""Tokens of a conversation, of which a batch is made without padding."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vocabulary", type=int)
    parser.add_argument("dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--batches", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(round(extra(asked.vocabulary, asked.layers, getattr(torch, asked.dtype), asked.batches) / 1e6))


def extra(vocabulary: int, layers: int, dtype: torch.dtype, batches: int) -> float:
    """Bytes beside a model."""
    ours(made_head(64, 1, dtype), text_of([16], 64))
    head = made_head(vocabulary, layers, dtype)
    text = text_of([LENGTH] * (batches * ON_CPU // LENGTH), vocabulary)
    free()
    return peak(lambda: ours(head, text))


def free() -> None:
    """Give memory that is free back to the system, so that a capture gets none of it unseen."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak(work: Callable[[], object]) -> float:
    """Bytes by which the process grows while it works, at most."""
    process, over = psutil.Process(), threading.Event()
    first = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not over.wait(0.001):
            most = max(most, process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    work()
    over.set()
    thread.join()
    return float(most - first)


if __name__ == "__main__":
    main()
