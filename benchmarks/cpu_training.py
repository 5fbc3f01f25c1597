"""How fast a CPU trains a model of SmolLM2-135M's structure, and what bounds it: tokens a second, and memory.

    python -m benchmarks.cpu_training [--steps 6] [--quick]

Steps of 8 conversations of some 160 tokens, one thread, random weights, each case in a process of its own:

    before    bf16, freed blocks from 128 KiB on return to the system, passes are cut as if one cost 26 positions
    kept      bf16, freed blocks up to 4 MiB are used again (`fusionchat.distill.freed`)
    now       and passes are cut by `pass_positions`: with AMX a pass costs 152 positions
    fp32      the same in fp32

Prints a table; the last line is JSON, with the speed of each case over ``before``. ``--quick``: a small model, two steps.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.plan_memory import SIZES, silent
from fusionchat import console

BATCH, MEDIAN, SPREAD, MOST = 8, 130, 0.6, 1024
"""Conversations of a step, and the lengths of all: log-normal, as the dialogues of the study nearly are."""


class Case(NamedTuple):
    """A training: its precision, whether freed memory is kept, and whether passes are cut as they cost."""

    precision: str
    keeps: bool
    costs: bool


CASES = {
    "before": Case("bf16", False, False),
    "kept": Case("bf16", True, False),
    "now": Case("bf16", True, True),
    "fp32": Case("fp32", True, True),
}


def conversations(count: int, vocabulary: int) -> list[Any]:
    """Conversations of random tokens, of which three fifths bear loss."""
    from fusionchat.corpus.render import Rendered

    rng, made = np.random.default_rng(0), []
    for length in np.clip(rng.lognormal(np.log(MEDIAN), SPREAD, count).astype(int), 8, MOST):
        rows = np.arange(length * 2 // 5, length, dtype=np.int32)
        zero = np.zeros(len(rows), np.int32)
        made.append(Rendered(rng.integers(0, vocabulary, length).astype(np.int32), rows, zero, zero, zero))
    return made


def measure(case: Case, size: str, steps: int, results: Any) -> None:
    """Train in this process; puts tokens a second without the first step, and the most MB, into ``results``."""
    import resource

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from fusionchat import machine_memory
    from fusionchat.distill import trainer
    from fusionchat.distill.settings import DistillSettings

    torch.set_num_threads(1)
    if not case.keeps:
        machine_memory.available = lambda: 0.0
    if not case.costs:
        trainer.has_amx = lambda: False
    config = LlamaConfig(**SIZES[size])
    rendered = conversations(BATCH * (steps + 1), config.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "metrics.jsonl"
        trainer.train(
            LlamaForCausalLM(config), rendered, None, label_weight=1.0, seed=0, micro_batch_tokens=4096,
            settings=DistillSettings(precision=case.precision, epochs=1, batch_size=BATCH, learning_rate=1e-5),
            gradient_checkpointing=False, checkpoint_steps=10**6, folder=Path(folder) / "kept", device=torch.device("cpu"),
            progress=silent, watched=trainer.Watched(metrics=metrics),
        )  # fmt: skip
        made = [json.loads(line) for line in metrics.read_text().splitlines()][1:]
    speed = sum(step["tokens"] for step in made) / sum(step["seconds"] for step in made)
    results.put((speed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    context, found = multiprocessing.get_context("spawn"), dict[str, dict[str, float]]()
    for name, case in CASES.items():
        results, start = context.Queue(), time.perf_counter()
        size, steps = ("toy", 1) if given.quick else ("135m", given.steps)
        process = context.Process(target=measure, args=(case, size, steps, results))
        process.start()
        speed, memory = results.get(timeout=3600)
        process.join()
        found[name] = {
            "tokens_per_s": round(speed, 1),
            "speed": round(speed / found["before"]["tokens_per_s"], 2) if found else 1.0,
            "memory_mb": round(memory),
            "seconds": round(time.perf_counter() - start),
        }
    columns = list(found["before"])
    rows = [(name, *(f"{row[column]:g}" for column in columns)) for name, row in found.items()]
    console.table("one thread", ("case", *columns), rows)
    console.say(json.dumps(found))


if __name__ == "__main__":
    main()
