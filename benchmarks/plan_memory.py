"""The memory that `plan` predicts for a training against the most that one takes, above what is held before it loads a model.

    python -m benchmarks.plan_memory [full lora kahan fsdp2] [--size 135m | 0.5b] [--tokens 1024]

Each case is a training of two steps of three passes in a process of its own (fsdp2: two), on a CPU in fp32 (kahan: bf16
weights), of a model with random weights. Prints (predicted - measured) / measured by case, as JSON.
"""

import argparse
import json
import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.distill_cases import most_mb, targets
from fusionchat.distill.footprint import Footprint, Shape, footprint
from fusionchat.distill.settings import DistillSettings

SIZES = {
    "toy": dict(vocab_size=4096, hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, tie_word_embeddings=True),
    "135m": dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                 num_key_value_heads=3, tie_word_embeddings=True),
    "0.5b": dict(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
                 num_key_value_heads=2, tie_word_embeddings=True),
}  # fmt: skip
"""SmolLM2-135M's and Qwen2.5-0.5B's structures, and one for tests."""
CASES = {"full": {}, "lora": {"train": "lora"}, "kahan": {"precision": "bf16_weights"}, "fsdp2": {}}
PASSES, STEPS, RANKS = 3, 2, 2


def settings(case: str) -> DistillSettings:
    """How a case is trained."""
    how = {"precision": "fp32", "epochs": 1, "batch_size": PASSES * ranks_of(case)}
    return DistillSettings(**how | CASES[case])


def ranks_of(case: str) -> int:
    """Processes of a case."""
    return RANKS if case == "fsdp2" else 1


@contextmanager
def silent(_steps: int, _done: int) -> Iterator[Callable[[int], None]]:
    yield lambda _count: None


def measured(case: str, size: str, tokens: int) -> float:
    """MB that a case takes: of several processes the one that takes most."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    count = ranks_of(case)
    processes = [
        context.Process(target=measure, args=(case, size, tokens, rank, port, results))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=3600) for _ in processes]
    for process in processes:
        process.join()
    return max(found)


def measure(case: str, size: str, tokens: int, rank: int, port: int, results: Any) -> None:
    """Train in this process, and put the most MB of it into ``results``."""
    if ranks_of(case) > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from fusionchat import machine_memory
    from fusionchat.distill.lora import with_factors
    from fusionchat.distill.trainable import FULL
    from fusionchat.distill.trainer import train
    from fusionchat.models.ref import ModelRef

    torch.set_num_threads(1)
    machine_memory.available = lambda: 0.0  # what a training needs, not what it takes where there is more
    how, config = settings(case), LlamaConfig(**SIZES[size])
    rendered, soft = corpus(PASSES * STEPS * ranks_of(case), tokens, config.vocab_size)
    train_tiny(torch, LlamaForCausalLM, LlamaConfig(**SIZES["toy"]))

    def work() -> None:
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        if how.train != FULL:
            with_factors(model, how.train.factors, ModelRef("pivot", ".", "."), seed=0)
        with tempfile.TemporaryDirectory() as folder:
            train(
                model, rendered, soft, label_weight=0.5, settings=how, seed=0, micro_batch_tokens=tokens,
                gradient_checkpointing=False, checkpoint_steps=10**6, folder=Path(folder), device=torch.device("cpu"),
                progress=silent, sharded=case == "fsdp2",
            )  # fmt: skip

    results.put(most_mb(work))


def train_tiny(torch: Any, kind: Any, config: Any) -> None:
    """A forward and backward of another model, so that libraries have what they keep."""
    model = kind(config)
    model(
        input_ids=torch.zeros(1, 8, dtype=torch.long), labels=torch.zeros(1, 8, dtype=torch.long)
    ).loss.backward()


def corpus(count: int, tokens: int, vocabulary: int) -> tuple[list[Any], list[Any]]:
    """Conversations that fill a pass each, of which three fifths bear loss, and their distributions."""
    from fusionchat.corpus.render import Rendered
    from fusionchat.represent.topk import TopK

    rng, rendered, soft = np.random.default_rng(0), [], []
    for _ in range(count):
        rows = np.arange(tokens * 2 // 5, tokens, dtype=np.int32)
        zero, made = np.zeros(len(rows), np.int32), targets(len(rows), vocabulary)
        rendered.append(
            Rendered(rng.integers(0, vocabulary, tokens).astype(np.int32), rows, zero, zero, zero)
        )
        soft.append(
            TopK(made.ids.numpy().astype(np.int32), made.logprobs.numpy().astype(np.float16),
                 made.tail.numpy().astype(np.float16), made.present.numpy())
        )  # fmt: skip
    return rendered, soft


def predicted(case: str, size: str, tokens: int) -> Footprint:
    """What `plan` says of a case."""
    how = settings(case)
    ranks = ranks_of(case)
    shape = Shape.of_config(SIZES[size])
    return footprint(shape, how, tokens=tokens, rows=tokens * 3 // 5, ranks=ranks, sharded=ranks > 1)


def errors(cases: list[str], size: str, tokens: int) -> dict[str, float]:
    """(predicted - measured) / measured by case."""
    found = {}
    for case in cases:
        parts = predicted(case, size, tokens)
        took = measured(case, size, tokens) * 2**20
        found[case] = round(parts.total / took - 1, 3)
        words = ", ".join(f"{name} {value / 2**20:.0f}" for name, value in parts._asdict().items() if value)
        print(
            f"{case} {size}: {took / 2**20:.0f} MB, predicted {parts.total / 2**20:.0f} ({words})", flush=True
        )
    return found


def main() -> None:
    """Measure, and print the errors as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--size", choices=list(SIZES), default="135m")
    parser.add_argument("--tokens", type=int, default=1024, help="of a pass")
    given = parser.parse_args()
    print(json.dumps(errors(given.cases, given.size, given.tokens)))


if __name__ == "__main__":
    main()
