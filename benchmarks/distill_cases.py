"""What `benchmarks.distill` measures on one thread: the loss at a size, a step, padding and collation."""

import ctypes
import gzip
import json
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.align_data import SHARED
from fusionchat.corpus.render import Rendered
from fusionchat.distill.batching import MicroBatch, plan_steps, real_share
from fusionchat.distill.data import StudentBatch, StudentData
from fusionchat.distill.lora import with_factors
from fusionchat.distill.loss import SoftTargets, soft_cross_entropy
from fusionchat.distill.student import Student
from fusionchat.distill.trainable import LoraSettings
from fusionchat.models.ref import ModelRef
from fusionchat.represent.topk import TopK

KEPT, RANKS, BATCH = 10, 8, 128
SUPERVISED = 0.6
"""Share of a step's positions that bear loss."""


class Size(NamedTuple):
    """A loss: rows, hidden size, vocabulary, dtype of the products, whether the head is trained."""

    rows: int
    hidden: int
    vocabulary: int
    dtype: torch.dtype = torch.float32
    trained: bool = True


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call: on a busy machine they say more than the clock's."""
    started = time.process_time()
    work()
    return time.process_time() - started


def targets(rows: int, vocabulary: int) -> SoftTargets:
    """Random labels and distributions of ten kept tokens and a tail."""
    g = torch.Generator().manual_seed(0)
    mass = torch.rand(rows, KEPT + 1, generator=g)
    mass /= mass.sum(1, keepdim=True)
    first = torch.randint(vocabulary - KEPT * 100, (rows, 1), generator=g)
    return SoftTargets(
        first + torch.arange(KEPT) * 97,
        mass[:, :KEPT].log(),
        mass[:, KEPT].log(),
        torch.randint(vocabulary, (rows,), generator=g),
        torch.ones(rows, dtype=torch.bool),
    )


class Loss:
    """One loss, its three products alone (two for a head that is not trained), and dense targets."""

    def __init__(self, size: Size) -> None:
        g = torch.Generator().manual_seed(1)
        self.size, self.targets = size, targets(size.rows, size.vocabulary)
        self.hidden = torch.randn(size.rows, size.hidden, generator=g).to(size.dtype).requires_grad_()
        self.head = (torch.randn(size.vocabulary, size.hidden, generator=g) * 0.05).requires_grad_(
            size.trained
        )
        self.rounded = self.head.detach().to(size.dtype)
        positions = round(size.rows / SUPERVISED)
        self.at = torch.arange(positions - size.rows, positions)
        self.whole = torch.randn(positions, size.hidden, generator=g).to(size.dtype).requires_grad_()

    def ours(self) -> None:
        """Forward and backward."""
        self.hidden.grad = self.head.grad = None
        soft_cross_entropy(
            self.hidden, self.head, self.targets, label_weight=0.5, rounded_VH=self.rounded
        ).loss.backward()

    def products(self) -> None:
        """Logits, gradient of the states, gradient of the head: whole, without anything between them."""
        hidden = self.hidden.detach()
        logits = hidden @ self.rounded.T
        logits @ self.rounded
        if self.size.trained:
            logits.T @ hidden

    def dense(self) -> None:
        """As FuseChat's published trainer and collator have it, per pass and without their padding to one length.

        A row of targets for every position, supervised or not, for each of two models; the targets of one are chosen.
        Cross entropy with these and with the labels, of all positions' logits.
        """
        self.whole.grad = self.head.grad = None
        positions, vocabulary = len(self.whole), self.size.vocabulary
        labels = torch.full((positions,), -100)
        labels[self.at] = self.targets.labels
        pivot, aligned = (torch.zeros(positions, vocabulary, dtype=torch.bfloat16) for _ in range(2))
        for made in (pivot, aligned):
            made[self.at[:, None], self.targets.ids] = self.targets.logprobs.exp().bfloat16()
        chosen = torch.where(torch.ones(1, 1, dtype=torch.bool), aligned, pivot)
        head = self.head if self.size.dtype == torch.float32 else self.head.to(self.size.dtype)
        logits = self.whole @ head.T
        label = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum")
        rows = torch.nn.functional.cross_entropy(logits, chosen.to(logits.dtype), reduction="none")
        (0.5 * label + 0.5 * rows[self.at].sum()).backward()

    def extra_mb(self) -> float:
        """The most memory during a call, less what is held before it and the gradients it leaves."""
        self.hidden.grad = self.head.grad = None
        give_back()
        most = most_mb(self.ours)
        grads = [one.grad for one in (self.hidden, self.head) if one.grad is not None]
        return most - sum(grad.nbytes for grad in grads) / 2**20


def give_back() -> None:
    """Return what earlier work has freed to the system, so that later work that takes it again counts it."""
    ctypes.CDLL(None).malloc_trim(0)


def most_mb(work: Callable[[], object]) -> float:
    """The most memory during a call above what is held before it, in MiB."""
    before, stop = status_mb(), threading.Event()
    most = [before]

    def watch() -> None:
        while not stop.wait(0.001):
            most[0] = max(most[0], status_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    stop.set()
    watcher.join()
    return most[0] - before


def status_mb() -> float:
    """This process's memory now, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


class Step:
    """A training step of a model of SmolLM2-135M's structure with random weights, without padding; ``rank`` is LoRA's."""

    def __init__(self, tokens: int, length: int, layers: int, rank: int = 0) -> None:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers,
            num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
        )  # fmt: skip
        self.model = LlamaForCausalLM(config).train()
        if rank:
            with_factors(self.model, LoraSettings(r=rank), ModelRef("pivot", ".", "."), seed=0)
        self.student = Student.of(self.model, label_weight=0.5)
        self.trained = [one for one in self.model.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-6)
        ids = torch.randint(49152, (tokens // length, length))
        cut = length * 2 // 5  # the answer begins
        self.labels = ids.clone()
        self.labels[:, :cut] = -100
        places = (torch.arange(len(ids))[:, None] * length + torch.arange(cut - 1, length - 1)).flatten()
        self.batch = StudentBatch(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            positions=places,
            step_rows=torch.tensor(len(places)),
            **targets(len(places), 49152)._replace(labels=ids.flatten()[places + 1])._asdict(),
        )

    def fused(self, bf16: bool) -> None:
        """Our loss of fused targets."""
        with self.student.rounded_once(0, 0) if bf16 else nullcontext():
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = self.student(self.batch).loss / self.batch["step_rows"]
            loss.backward()
        self._update()

    def plain(self, bf16: bool) -> None:
        """The model's own loss of the labels, as Trainer calls it."""
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = self.model(
                input_ids=self.batch["input_ids"],
                attention_mask=self.batch["attention_mask"],
                labels=self.labels,
                use_cache=False,
            ).loss
        loss.backward()
        self._update()

    def extra_mb(self, step: Callable[[bool], None]) -> float:
        """The most memory that a step takes above what is held before it."""
        give_back()
        return most_mb(lambda: step(False))

    def _update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def dialogue_lengths(limit: int) -> list[int] | None:
    """Tokens of dialogues of each domain of ../shared/data/chat, None where it is absent."""
    if not SHARED.is_dir():
        return None
    own = AutoTokenizer.from_pretrained(SHARED / "tokenizers" / "llama-3.1-8b-instruct")
    found: list[int] = []
    for path in sorted((SHARED / "chat").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            records = [json.loads(line) for line in islice(lines, limit)]
        texts = ["\n".join(m["content"] for m in record["messages"]) for record in records]
        found += [len(ids) for ids in own(texts).input_ids]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[i] for i in order]


def padding(lengths: list[int]) -> tuple[float, float]:
    """The share of positions that are real, and by how much a rank has more positions than the mean of eight, at most."""
    one = [1] * len(lengths)
    how = {"epochs": 1, "batch_size": BATCH, "micro_tokens": 4096, "seed": 0}
    share = real_share(plan_steps(one, lengths, **how), lengths)
    plan = plan_steps(one, lengths, ranks=RANKS, **how)
    whole = len(plan) - len(plan) % RANKS - RANKS  # the last step has a few conversations only
    loads = np.array([sum(positions(micro, lengths) for micro in part) for part in plan[:whole]])
    by_rank = loads.reshape(-1, RANKS)
    return share, float((by_rank.max(1) / by_rank.mean(1)).max() - 1)


def positions(micro: MicroBatch, lengths: list[int]) -> int:
    """Positions of a micro-batch, padding included."""
    return len(micro.members) * max(lengths[i] for i in micro.members)


def collation(conversations: int) -> float:
    """Rows a second and core from a plan to tensors."""
    rng = np.random.default_rng(0)
    rendered, soft = list[Rendered](), list[TopK]()
    for length in rng.integers(100, 600, conversations):
        rows = np.arange(int(length) // 3, length, dtype=np.int32)
        zero, n = np.zeros(len(rows), np.int32), len(rows)
        rendered.append(Rendered(rng.integers(0, 30000, length).astype(np.int32), rows, zero, zero, zero))
        half = np.full((n, KEPT), -3.0, np.float16)
        soft.append(TopK(np.zeros((n, KEPT), np.int32), half, half[:, 0], np.ones(n, np.bool_)))
    plan = plan_steps(
        [len(one.rows) for one in rendered], [len(one.input_ids) for one in rendered],
        epochs=1, batch_size=64, micro_tokens=4096, seed=0,
    )  # fmt: skip
    data = StudentData(rendered, soft, plan)
    took = min(seconds(lambda: [data[i] for i in range(len(data))]) for _ in range(3))
    return sum(len(one.rows) for one in rendered) / took
