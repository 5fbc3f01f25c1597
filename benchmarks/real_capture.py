"""Three real models captured by every means and compared: transformers in fp32 and bf16, from a GGUF file, and vLLM on CPU.

    python ../shared/tools/real_models.py OUT
    python -m benchmarks.real_capture OUT --work FOLDER --vllm VLLM/bin/python [--dialogues 200] [--minutes 18]

A run of the pipeline for each means, up to the alignment of both others with SmolLM2: the probe, the store and the
alignment are FusionChat's own. Dialogues are of ``../shared/data/chat``, as many of each domain, the first that are
short. It stops after ``--minutes``, and continues where it stopped when it is called again: shards of 2,048 rows stay. Prints,
once all is there, bits per byte by domain and how far each means is from fp32 (nats: of the text's own tokens, and of
the ten kept, by rank and by id); the last line is JSON, with ``"finished": false`` until then.
"""

import argparse
import gzip
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat import console
from fusionchat.recipe.schema import Recipe, validate_recipe
from fusionchat.represent.bits import NATS_PER_BIT, bits_per_byte
from fusionchat.represent.events import events_of, message_bytes
from fusionchat.represent.plain import Plain
from fusionchat.represent.probe import compare
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.topk import Scored
from fusionchat.run.plan import Run
from fusionchat.stages import represent
from fusionchat.stages.corpus import read_part, read_tokens
from fusionchat.stages.pipeline import open_run, run

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "chat"
DOMAINS = ("code_4535", "gsm8k_train", "instructions_1100", "roleplay_1923")
PIVOT, OTHERS = "smollm2", ("qwen-coder", "gemma")
MEANS = ("fp32", "bf16", "gguf", "vllm")
MOST_CHARACTERS = 1500
ROWS = 2048
"""Of a shard: minutes of work on a slow CPU, so that little is lost between two calls."""
HELD_OUT = 2
"""Dialogues of each domain for the parts that a recipe needs besides; nothing is done with them."""


def dialogues(domain: str) -> Iterator[dict[str, Any]]:
    """The short dialogues of a domain."""
    with gzip.open(DATA / f"{domain}.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            if len(line) <= MOST_CHARACTERS:
                yield json.loads(line)


def write_corpus(folder: Path, count: int) -> None:
    """``train.jsonl`` with ``count`` dialogues, and two small parts."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for number, domain in enumerate(DOMAINS):
        own = count // len(DOMAINS) + (number < count % len(DOMAINS))
        lines = [
            json.dumps(one) for one, _ in zip(dialogues(domain), range(own + 2 * HELD_OUT), strict=False)
        ]
        parts["train"] += lines[:own]
        parts["validation"] += lines[own : own + HELD_OUT]
        parts["test"] += lines[own + HELD_OUT :]
    for part, lines in parts.items():
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")


def recipe(models: Path, work: Path, means: str, vllm: str) -> Recipe:
    """The recipe of one means of capture."""
    capture = {"backend": "vllm", "python": vllm, "max_num_seqs": 16} if means == "vllm" else {}

    def spec(name: str) -> dict[str, Any]:
        folder = str((models / name).absolute())
        held: dict[str, Any] = {"model": folder, "capture": capture or "transformers"}
        if means == "gguf":
            held |= {"model": f"{folder}.gguf", "tokenizer": folder}
        return held if name != "gemma" else held | {"template": "pivot"}  # it has no template of its own

    tree = {
        "name": means,
        "output": str(work / "runs"),
        "pivot": spec(PIVOT),
        "sources": {name: spec(name) for name in OTHERS if (models / name).is_dir()},
        "corpus": {part: str(work / "corpus" / f"{part}.jsonl") for part in ("train", "validation", "test")}
        | {"max_tokens": 1024},
        "represent": {"k": 10, "dtype": "bfloat16" if means == "bf16" else "float32"},
        "runtime": {"device": "cpu"},
    }
    return validate_recipe(tree, name="recipe", folder=".")


def stop_after(minutes: float) -> None:
    """End this process then, whatever it does: what is finished is kept, and vLLM ends with it."""

    def stop() -> None:
        console.say(json.dumps({"finished": False}))
        os._exit(0)

    timer = threading.Timer(60 * minutes, stop)
    timer.daemon = True
    timer.start()


def scored(made: Run, name: str) -> Scored:
    """A model's capture."""
    tokens = read_tokens(made.folder / "corpus/corpus", "train", name)
    store = DistributionStore(made.folder / f"represent/{name}")
    return store.scored(tokens, 0, len(tokens))


def by_domain(made: Run, held: Scored) -> dict[str, float]:
    """Bits per byte of each domain, and of all."""
    conversations = read_part(made.folder / "corpus/corpus", "train")
    events = events_of(held.tokens, message_bytes([c.message_bytes for c in conversations]))
    domains = np.array([c.domain for c in conversations])[events.conversation]
    bits = -held.label_logprob.astype(np.float64) / NATS_PER_BIT
    chosen = {"all": np.ones(len(bits), bool)} | {name: domains == name for name in sorted(set(domains))}
    return {
        name: round(bits_per_byte(bits[rows].sum(), int(events.bytes[rows].sum())), 4)
        for name, rows in chosen.items()
    }


def difference(reference: Scored, held: Scored) -> dict[str, list[float]]:
    """How far a capture is from another: of the text's own tokens and of the kept ones, mean and worst, in nats."""
    plain = Plain(
        reference.label_logprob,
        reference.topk.ids.astype(np.int32),
        reference.topk.logprobs.astype(np.float32),
    )
    label, kept = compare(plain, held)
    return {"label": [label.mean, label.worst], "kept": [kept.mean, kept.worst]}


def figures(runs: dict[str, Run], name: str) -> dict[str, Any]:
    """All that is known of one model."""
    name = "pivot" if name == PIVOT else name
    held = {means: scored(made, name) for means, made in runs.items()}
    found: dict[str, Any] = {
        "rows": held["fp32"].tokens.rows,
        "bits_per_byte": {means: by_domain(runs[means], own) for means, own in held.items()},
        "from_fp32": {means: difference(held["fp32"], own) for means, own in held.items() if means != "fp32"},
        "probe": {means: made.manifest(f"represent/{name}").summary["probe"] for means, made in runs.items()},
        "seconds": {means: made.manifest(f"represent/{name}").seconds for means, made in runs.items()},
    }
    if name != "pivot":
        aligned = {means: made.manifest(f"align/{name}").summary for means, made in runs.items()}
        # `retention` itself is 1 by construction: see fusionchat.align.summary.
        found["aligned"] = {
            means: {key: summary[key] for key in ("aligned_byte_share", "map_retention", "text_retention")}
            for means, summary in aligned.items()
        }
    return found


def show(models: dict[str, dict[str, Any]]) -> None:
    for name, found in models.items():
        domains = list(found["bits_per_byte"]["fp32"])
        rows = [
            (means, *(f"{bits[domain]:.4f}" for domain in domains))
            for means, bits in found["bits_per_byte"].items()
        ]
        console.table(f"{name}: bits per byte, {found['rows']:,} tokens", ("by", *domains), rows)
        differences = [
            (means, *(f"{value:g}" for pair in (own["label"], own["kept"]) for value in pair))
            for means, own in found["from_fp32"].items()
        ]
        columns = ("by", "text, mean", "text, worst", "kept, mean", "kept, worst")
        console.table(f"{name}: nats from fp32 by transformers", columns, differences)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", type=Path, help="the folder that real_models.py has filled")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the runs; calls with the same one go on"
    )
    parser.add_argument(
        "--vllm", default="", help="the interpreter of vLLM's environment; without it vLLM is left out"
    )
    parser.add_argument("--dialogues", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=18.0)
    given = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    represent.shard_rows = lambda _: ROWS  # type: ignore[assignment]
    stop_after(given.minutes)
    if not (given.work / "corpus/test.jsonl").is_file():
        write_corpus(given.work / "corpus", given.dialogues)
    runs: dict[str, Run] = {}
    for means in MEANS:
        if means == "vllm" and not given.vllm:
            continue
        own = recipe(given.models, given.work, means, given.vllm)
        console.say(f"== {means}")
        run(own, until="align")
        runs[means] = open_run(own)
    models = {name: figures(runs, name) for name in (PIVOT, *OTHERS) if (given.models / name).is_dir()}
    show(models)
    console.say(json.dumps({"models": models, "dialogues": given.dialogues, "finished": True}))


if __name__ == "__main__":
    main()
