"""What a training step with fused targets takes on a GPU beside plain fine-tuning and dense targets: tokens/s and memory.

    bash benchmarks/gpu_distill.sh            # on a machine with a GPU, with the wheels it carries: under five minutes
    python -m benchmarks.gpu_distill          # where everything is installed

A model with Llama 3.2 1B's structure (vocabulary 128,256) and random weights is trained on random tokens, the last three fifths
of each conversation supervised, with passes in bfloat16. The ways, each a whole step with the gradient's norm and AdamW:

- ``sft``: the model's own loss of the labels. fp32 weights, torch's fused AdamW.
- ``fused``: ours, the same weights and optimizer; the passes' copies of the weights are rounded at random, as in a training.
- ``dense``: as FuseChat's published code has it, the same weights and optimizer: a row of targets for every position and each of
  two models in bfloat16, the targets of one chosen, cross entropy over all positions beside the model's own loss.
- ``kahan``: ours, bfloat16 weights with compensation, bitsandbytes' 8-bit AdamW.

Figures, the last line as JSON: ``tokens_per_s`` and ``peak_mb`` (all that tensors take) of each; ``sft_over_fused`` and
``dense_over_fused``, of seconds; ``label_loss``, nats a token before the first step, which the ways must agree on. A way that
runs out of memory is null. Without a GPU all of it runs at toy size, and its figures, which would say nothing of a GPU, are null.
"""

import gc
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from benchmarks.gpu_capture import REAL, TOY, medians, wait
from benchmarks.gpu_result import measured, write
from fusionchat.distill.bf16_weights import NarrowModel
from fusionchat.distill.data import StudentBatch
from fusionchat.distill.per_matrix import one_by_one
from fusionchat.distill.student import Student

KEPT, LABEL_WEIGHT, RATE = 10, 0.9, 1e-6
Step = Callable[[], float]
"""Makes a training step, and returns the labels' loss before it, nats a token."""


class Size(NamedTuple):
    """A model's shape, the conversations of a step and their tokens, and the steps of which the median is taken."""

    shape: dict[str, int]
    conversations: int
    length: int
    rounds: int


BIG, SMALL = Size(REAL.shape, 4, 1024, 9), Size(TOY.shape, 2, 20, 1)


def main() -> None:
    """Measure, and print the figures as JSON."""
    found, folder = measured(__doc__, lambda device: measure(BIG if device.type == "cuda" else SMALL, device))
    write(found, folder, "gpu_distill.json")


def measure(size: Size, device: torch.device) -> dict[str, object]:
    """All figures."""
    taken = {name: taken_by(make, size, device) for name, make in WAYS.items()}
    seconds = {name: None if one is None else one.seconds for name, one in taken.items()}
    tokens = size.conversations * size.length

    def over(name: str) -> float | None:
        way, ours = seconds[name], seconds["fused"]
        return None if way is None or ours is None else round(way / ours, 3)

    return {
        "tokens_per_s": {name: None if one is None else round(tokens / one) for name, one in seconds.items()},
        "peak_mb": {name: None if one is None else one.peak_mb for name, one in taken.items()},
        "label_loss": {
            name: None if one is None else round(one.label_loss, 4) for name, one in taken.items()
        },
        "sft_over_fused": over("sft"),
        "dense_over_fused": over("dense"),
    }


class Taken(NamedTuple):
    """What a step of a way takes; the memory is known of a GPU only."""

    seconds: float
    peak_mb: float | None
    label_loss: float


def taken_by(
    make: Callable[[LlamaForCausalLM, StudentBatch], Step], size: Size, device: torch.device
) -> Taken | None:
    """What a way takes once the optimizer has its state; None where memory runs out."""
    gc.collect()
    try:
        if device.type == "cuda":
            torch.cuda.empty_cache()
        step = make(made_model(size.shape, device), made_batch(size, device))
        label_loss = step()
        wait(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = medians({"step": step}, size.rounds, device)["step"]
        peak = round(torch.cuda.max_memory_allocated(device) / 1e6) if device.type == "cuda" else None
        return Taken(seconds, peak, label_loss)
    except torch.OutOfMemoryError:
        return None


def made_model(shape: dict[str, int], device: torch.device) -> LlamaForCausalLM:
    """A model with random fp32 weights."""
    torch.manual_seed(0)
    with device:
        return LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True, use_cache=False)).train()


def made_batch(size: Size, device: torch.device) -> StudentBatch:
    """Conversations without padding; each supervised token has ten kept tokens, and a tail that is e^-20."""
    vocabulary, (count, length) = size.shape["vocab_size"], (size.conversations, size.length)
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (count, length), generator=g)
    cut = length * 2 // 5
    at = (torch.arange(count)[:, None] * length + torch.arange(cut - 1, length - 1)).flatten()
    rows = len(at)
    first = torch.randint(vocabulary - KEPT * 50, (rows, 1), generator=g)
    mass = torch.rand(rows, KEPT, generator=g)
    batch = StudentBatch(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        positions=at,
        labels=ids.flatten()[at + 1],
        ids=first + torch.arange(KEPT) * 49,
        logprobs=(mass / mass.sum(1, keepdim=True)).log(),
        tail=torch.full((rows,), -20.0),
        present=torch.ones(rows, dtype=torch.bool),
        own=torch.zeros(rows, dtype=torch.bool),
        step_rows=torch.tensor(rows),
    )
    return {name: value.to(device) for name, value in batch.items()}  # type: ignore[return-value,attr-defined]


def sft(model: LlamaForCausalLM, batch: StudentBatch) -> Step:
    """Steps of plain fine-tuning."""
    optimizer, labels = adamw(model), labels_of(batch)

    def step() -> float:
        with autocast(labels):
            loss: Tensor = model(input_ids=batch["input_ids"], labels=labels).loss
        loss.backward()
        update(model, optimizer)
        return float(loss.detach())

    return step


def dense(model: LlamaForCausalLM, batch: StudentBatch) -> Step:
    """Steps with a row of targets for every position and model, of which one is chosen."""
    optimizer, labels = adamw(model), labels_of(batch)
    (count, length), vocabulary = labels.shape, model.config.vocab_size
    better = torch.ones(count, 1, 1, dtype=torch.bool, device=labels.device)

    def targets() -> Tensor:
        made = torch.zeros(count * length, vocabulary, dtype=torch.bfloat16, device=labels.device)
        made[:, 0] = 1.0  # of positions without a target: their rows count nothing
        made[batch["positions"], 0] = 0.0
        made[batch["positions"][:, None], batch["ids"]] = batch["logprobs"].exp().bfloat16()
        return made.view(count, length, vocabulary)

    def step() -> float:
        pivot, aligned = targets(), targets()
        with autocast(labels):
            found = model(input_ids=batch["input_ids"], labels=labels)
            chosen = torch.where(better, aligned, pivot)
            logits = found.logits.view(-1, vocabulary)
            rows = cross_entropy(logits, chosen.view(-1, vocabulary).to(logits.dtype), reduction="none")
            mean = (rows[batch["positions"]]).sum() / batch["step_rows"]
        (LABEL_WEIGHT * found.loss + (1 - LABEL_WEIGHT) * mean).backward()
        update(model, optimizer)
        return float(found.loss.detach())

    return step


def fused(model: LlamaForCausalLM, batch: StudentBatch) -> Step:
    """Steps with our loss."""
    return ours(model, batch, Student.of(model, label_weight=LABEL_WEIGHT), adamw(model))


def kahan(model: LlamaForCausalLM, batch: StudentBatch) -> Step:
    """Steps with our loss on bf16 weights."""
    student = Student.of(model, label_weight=LABEL_WEIGHT)
    narrow = NarrowModel.of(model, compensated=True, seed=0)
    with TemporaryDirectory() as folder:
        how = TrainingArguments(
            output_dir=folder, optim="adamw_bnb_8bit", learning_rate=RATE, report_to="none",
            use_cpu=batch["labels"].device.type == "cpu",
        )  # fmt: skip
        optimizer = one_by_one(Trainer(model, how), student, narrow)
    return ours(model, batch, student, optimizer)


def ours(
    model: LlamaForCausalLM, batch: StudentBatch, student: Student, optimizer: torch.optim.Optimizer
) -> Step:
    """Steps of a student."""
    number = iter(range(10**6))

    def step() -> float:
        with student.rounded_once(0, next(number)):
            with autocast(batch["labels"]):
                sums = student(batch)
            (sums.loss / batch["step_rows"]).backward()
        update(model, optimizer)
        return float(sums.label / sums.rows)

    return step


WAYS = {"sft": sft, "fused": fused, "dense": dense, "kahan": kahan}


def labels_of(batch: StudentBatch) -> Tensor:
    """Labels as transformers' models take them: each at its own position, -100 where there is none."""
    ids = batch["input_ids"]
    labels = torch.full_like(ids, -100).flatten()
    labels[batch["positions"] + 1] = batch["labels"]
    return labels.view(ids.shape)


def autocast(like: Tensor) -> torch.autocast:
    """Passes in bfloat16, where a tensor is."""
    return torch.autocast(like.device.type, torch.bfloat16)


def adamw(model: LlamaForCausalLM) -> torch.optim.Optimizer:
    """torch's fused AdamW of fp32 weights."""
    return torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)


def update(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer) -> None:
    """The end of a step."""
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    optimizer.zero_grad()


if __name__ == "__main__":
    main()
