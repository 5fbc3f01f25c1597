"""How much faster two workers of one thread make a capture than one, beside bare forward passes of the same model."""

import json
import multiprocessing
import shutil
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.cluster_nodes import add_node, cluster
from fusionchat.run.attempts import Attempt, attempts
from fusionchat.stages.pipeline import run, run_job

COPIES, BARE_S = 40, 12.0
MANY, SMALL = "input/corpus/many.jsonl", "input/models/small"
JOB = "represent/qwen"
SETTINGS = (f"corpus.train={MANY}", f"sources.qwen.model={SMALL}", "represent.dtype=float32")


def speedups(recipe: Callable[..., Any]) -> tuple[float, float]:
    """Of two workers over one: shards of a capture on the cluster, and bare forward passes.

    Args:
        recipe: Makes one of a name, settings, and the cluster ``on`` which it runs.
    """
    many_conversations()
    small_model()
    with cluster(1) as on:
        one, bare_one = rate(recipe("many-1", *SETTINGS, on=on), 1), bare(1)
        add_node(on)
        two, bare_two = rate(recipe("many-2", *SETTINGS, on=on), 2), bare(2)
    return two / one, bare_two / bare_one


def many_conversations() -> None:
    """Write a training part with the demo's conversations several times, each time with another first word."""
    lines = Path("input/corpus/train.jsonl").read_text(encoding="utf-8").splitlines()
    with Path(MANY).open("w", encoding="utf-8") as file:
        for copy in range(COPIES):
            for line in lines:
                held = json.loads(line)
                held.pop("id", None)
                for message in held["messages"]:
                    message["content"] = f"{copy} {message['content']}"
                file.write(json.dumps(held) + "\n")


def small_model() -> None:
    """Make a model of 27 million parameters with the tokenizer of a smaller one of the demo."""
    from transformers import AutoConfig, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    demo = AutoConfig.from_pretrained("input/models/qwen")
    config = Qwen2Config(
        vocab_size=demo.vocab_size,
        eos_token_id=demo.eos_token_id,
        pad_token_id=demo.pad_token_id,
        max_position_embeddings=demo.max_position_embeddings,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    Qwen2ForCausalLM(config).save_pretrained(SMALL)
    AutoTokenizer.from_pretrained("input/models/qwen").save_pretrained(SMALL)


def rate(what: Any, workers: int) -> float:
    """Shards of a capture a second while all of its workers are at work."""
    shutil.rmtree(what.run_folder, ignore_errors=True)
    run(what, until="corpus")
    job = (planned := run_job(what, JOB)).jobs[JOB]
    made = [one for one in attempts(planned.folder, job.id, job.fingerprint) if one.shard is not None]
    return shards_a_second([one for one in made if one.seconds is not None], workers)


def shards_a_second(made: list[Attempt], workers: int) -> float:
    """Shards made from begin to end while all workers made some, by the seconds of that time.

    Raises:
        ValueError: Fewer workers than that have made any.
    """
    own = {
        process: [one for one in made if one.process == process] for process in {one.process for one in made}
    }
    if len(own) < workers:
        raise ValueError(f"{len(own)} of {workers} workers made shards")
    start = max(min(one.began for one in mine) for mine in own.values())
    end = min(max(_end(one) for one in mine) for mine in own.values())
    return sum(start <= one.began and _end(one) <= end for one in made) / (end - start)


def _end(one: Attempt) -> float:
    return one.began + (one.seconds or 0.0)


def bare(workers: int, work: Callable[..., None] | None = None) -> int:
    """Forward passes of some processes at once.

    Raises:
        RuntimeError: One of the processes has died.
    """
    context = multiprocessing.get_context("spawn")
    ready, ends, processes = context.Barrier(workers), [], []
    try:
        for _ in range(workers):
            end, its = context.Pipe(duplex=False)
            processes.append(context.Process(target=work or passes, args=(BARE_S, its, ready), daemon=True))
            processes[-1].start()
            its.close()  # so that its end is the only one: it closes when the process dies
            ends.append(end)
        return sum(heard(ends))
    finally:
        for process in processes:  # one that has said its count has nothing left to do
            process.kill()
            process.join()


def heard(ends: "list[Connection[Any, int]]") -> list[int]:
    """What comes through the ends of some pipes, once each; raises RuntimeError where one closes before."""
    left, counts = list(ends), list[int]()
    while left:
        for end in wait(left):
            try:
                counts.append(end.recv())  # type: ignore[union-attr]
            except EOFError as error:
                raise RuntimeError(
                    "A process of the bare forward passes has died; see its error above"
                ) from error
            left.remove(end)  # type: ignore[arg-type]
    return counts


def passes(seconds: float, end: "Connection[int, Any]", ready: Any) -> None:
    """Say how many forward passes of the capture's model the time has room for, beside the other processes from the first."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(SMALL).eval()
    ids = torch.randint(0, 100, (8, 96))
    with torch.inference_mode():
        model(ids)
        ready.wait()
        until, count = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            model(ids)
            count += 1
    end.send(count)
