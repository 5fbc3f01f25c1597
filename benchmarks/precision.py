"""What a training's precision does to its target: bits per byte, size of the change, VaRM's shares, against fp32's.

    python -m benchmarks.precision MODEL [--ways fp32 bf16 ...] [--rates 1e-4 ...] [--steps 4] [--train A B] [--held-out C]

Two targets of a chat model are trained on the labels of two files of conversations (8 a step), each in every way. Then,
against the fp32 targets: bits per byte of a held-out file under the first, the change's rms, how much of the change
differs, and the difference of VaRM's share of a target in a matrix. The ways without a colon are the recipe's; the
others are here to find causes, and say what they change. Files default to arithmetic and role play of
``../shared/data/chat``; CPU seconds on one thread. The last line is JSON.
"""

import argparse
import gzip
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from benchmarks.align_data import SHARED
from fusionchat.corpus.render import Rendered
from fusionchat.distill.settings import TrainingSettings
from fusionchat.distill.student import LossHead, Student
from fusionchat.distill.trainer import train
from fusionchat.evaluate.token_bits import token_bits
from fusionchat.merge.weights import variation_ratio

DATA = SHARED / "chat"
TRAINED = [DATA / "gsm8k_train.jsonl.gz", DATA / "roleplay_1923.jsonl.gz"]
HELD_OUT = DATA / "gsm8k_test.jsonl.gz"
BATCH = 8

Change = dict[str, Tensor]


class Held(NamedTuple):
    """Conversations, and the bytes of their answers."""

    rendered: list[Rendered]
    bytes: int


def read(tokenizer: Any, file: Path, count: int, length: int) -> Held:
    """The first conversations of a file that have at most ``length`` tokens; the first answer is supervised."""
    found, size = list[Rendered](), 0
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            asked, answer = json.loads(line)["messages"][:2]
            before = tokenizer.apply_chat_template([asked], tokenize=False, add_generation_prompt=True)
            text = before + answer["content"] + tokenizer.eos_token
            prompt, whole = tokenizer(before).input_ids, tokenizer(text).input_ids
            if len(whole) <= length:
                rows = np.arange(len(prompt), len(whole), dtype=np.int32)
                zero = np.zeros(len(rows), np.int32)
                found.append(Rendered(np.array(whole, np.int32), rows, zero, zero, zero))
                size += len(answer["content"].encode())
            if len(found) == count:
                break
    return Held(found, size)


@contextmanager
def nearest(student: Student, *_: int) -> Iterator[None]:
    """Weights are rounded to the nearest bf16 numbers in whatever the passes compute."""
    weights = [p for p in student.parameters() if p.dim() > 1]
    kept = [p.detach().clone() for p in weights]
    for p in weights:
        p.data.copy_(p.data.bfloat16())
    yield
    for p, own in zip(weights, kept, strict=True):
        p.data.copy_(own)


@contextmanager
def copied_once(student: Student, *_: int) -> Iterator[None]:
    """As training was before: autocast's own copies, made once a step."""
    torch.autocast_increment_nesting()
    student.head.keeps = True
    try:
        yield
    finally:
        student.head.keeps, student.head.kept = False, None
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()


def without_autocast(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A module's forward in fp32."""

    def exact(self: Any, first: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            return forward(self, first.float() if isinstance(first, Tensor) else first, *args, **kwargs)

    return exact


Around = Callable[[], AbstractContextManager[Any]]


class Way(NamedTuple):
    """How a training is done: its precision, what is put in the place of our copies, and the size of a pass."""

    precision: str | dict[str, dict[str, str]]
    around: tuple[Around, ...] = ()
    tokens: int = 2048
    optim: str = "adamw_torch_fused"


def replaced(owner: type, name: str, by: Any) -> Around:
    """A method of a class replaced."""
    return partial(patch.object, owner, name, by)


EXACT = replaced(Student, "forward", without_autocast(Student.forward))
NEAREST = replaced(Student, "rounded_once", copied_once)
KAHAN, STOCHASTIC = ({"bf16_weights": {"rounding": name}} for name in ("kahan", "stochastic"))
WAYS = {
    "fp32": Way("fp32"),
    "bf16": Way("bf16"),
    "fp32, 8-bit AdamW": Way("fp32", optim="adamw_bnb_8bit"),
    "kahan": Way(KAHAN),
    "kahan, 8-bit AdamW": Way(KAHAN, optim="adamw_bnb_8bit"),
    "stochastic": Way(STOCHASTIC),
    "cause: fp32 products, weights to the nearest": Way(
        "bf16", (EXACT, replaced(Student, "rounded_once", nearest))
    ),
    "cause: fp32 products, weights at random": Way("bf16", (EXACT,)),
    "cause: bf16, copies to the nearest": Way("bf16", (NEAREST,)),
    "cause: bf16, autocast's own copies": Way(
        "bf16", (replaced(Student, "rounded_once", lambda *_: nullcontext()),)
    ),
    "cause: bf16 to the nearest, passes of 512": Way("bf16", (NEAREST,), 512),
    "cause: bf16 to the nearest, fp32 head": Way(
        "bf16", (NEAREST, replaced(LossHead, "forward", without_autocast(LossHead.forward)))
    ),
    "cause: bf16 to the nearest, fp32 body": Way(
        "bf16", (NEAREST, replaced(Student, "hidden", without_autocast(Student.hidden)))
    ),
}


class Target(NamedTuple):
    """A trained target: its change, bits per byte of the held-out part, and the training's CPU seconds."""

    change: Change
    bits_per_byte: float
    seconds: float


def load(model: str) -> PreTrainedModel:
    """A model in fp32."""
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


def bits_per_byte(model: PreTrainedModel, held: Held) -> float:
    """Bits of the held-out answers by their bytes."""
    bits = token_bits(
        model,
        held.rendered,
        names=["?"] * len(held.rendered),
        device="cpu",
        batch_tokens=1024,
        progress=lambda _: None,
    )
    return float(bits.sum()) / held.bytes


def target(model: str, way: Way, rate: float, part: list[Rendered], held: Held) -> Target:
    """Train a target and measure it."""
    student = load(model)
    before = {name: p.detach().clone() for name, p in student.named_parameters()}
    started = time.process_time()
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        for around in way.around:
            stack.enter_context(around())
        train(
            student.train(),
            part,
            None,
            label_weight=1.0,
            settings=TrainingSettings.model_validate(
                {
                    "epochs": 1,
                    "batch_size": BATCH,
                    "learning_rate": rate,
                    "precision": way.precision,
                    "optim": way.optim,
                }
            ),
            seed=0,
            micro_batch_tokens=way.tokens,
            gradient_checkpointing=False,
            checkpoint_steps=10**6,
            folder=Path(folder),
            device=torch.device("cpu"),
            progress=lambda *_: nullcontext(lambda _: None),
        )
    seconds = time.process_time() - started
    change = {name: p.detach() - before[name] for name, p in student.named_parameters()}
    return Target(change, bits_per_byte(student, held), seconds)


def square(change: Change) -> float:
    """Sum of the squares of all elements."""
    return sum(float(one.double().square().sum()) for one in change.values())


def shares(changes: list[Change]) -> np.ndarray:
    """The first target's VaRM share in every matrix: mean square over the sum of mean squares."""
    names = [name for name, one in changes[0].items() if one.dim() > 1]
    means = [[float(change[name].double().square().mean()) for name in names] for change in changes]
    return variation_ratio(np.array(means), 1.0)[0]


def compared(made: list[Target], exact: list[Target]) -> dict[str, float]:
    """Figures of a way's two targets, the first of which is measured on held-out text; against fp32's two."""
    apart = [
        math.sqrt(
            square({name: one - old.change[name] for name, one in new.change.items()}) / square(old.change)
        )
        for new, old in zip(made, exact, strict=True)
    ]
    off = abs(shares([one.change for one in made]) - shares([one.change for one in exact]))
    count = sum(one.numel() for one in made[0].change.values())
    return {
        "bits_per_byte": round(made[0].bits_per_byte, 4),
        "rms": float(f"{math.sqrt(square(made[0].change) / count):.3g}"),
        "change_differs": round(max(apart), 3),
        "share_off_most": round(float(off.max()), 4),
        "share_off_mean": round(float(off.mean()), 4),
        "seconds": round(sum(one.seconds for one in made), 1),
    }


def main() -> None:
    """Train and measure; a line each, then the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--ways", nargs="+", default=["fp32", "bf16"], choices=list(WAYS), metavar="WAY")
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-4])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument(
        "--train", nargs=2, type=Path, default=TRAINED, metavar="FILE", help="JSON lines, gzip"
    )
    parser.add_argument("--held-out", type=Path, default=HELD_OUT)
    parser.add_argument("--count", type=int, default=12, help="held-out conversations")
    parser.add_argument("--length", type=int, default=350, help="most tokens of a conversation")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    parts = [read(tokenizer, file, BATCH * asked.steps, asked.length).rendered for file in asked.train]
    held = read(tokenizer, asked.held_out, asked.count, asked.length)
    pivot = bits_per_byte(load(asked.model), held)
    print(f"pivot: {pivot:.4f} bits per byte", flush=True)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for rate in asked.rates:
        exact: list[Target] = []
        for way in dict.fromkeys(["fp32", *asked.ways]):
            made = [target(asked.model, WAYS[way], rate, part, held) for part in parts]
            exact = exact or made
            figures.setdefault(f"{rate:g}", {})[way] = found = compared(made, exact)
            print(f"{rate:g}  {way:40} {found}", flush=True)
    print(json.dumps({"pivot": round(pivot, 4), "steps": asked.steps, "rates": figures}))


if __name__ == "__main__":
    main()
