"""What is observed during a training: metrics, held-out text, and losses that go wrong.

Each step gets a line of ``metrics.jsonl``.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fusionchat.distill.batching import MicroBatch
from fusionchat.distill.best import Best, BestWeights
from fusionchat.distill.bf16_weights import NarrowModel
from fusionchat.distill.divergence import WINDOW, Divergence
from fusionchat.distill.held_out import HeldOut
from fusionchat.distill.loss import LossSums
from fusionchat.distill.metrics import HELD_OUT, Line, MetricsFile
from fusionchat.distill.origins import Origins
from fusionchat.distill.parallel import place
from fusionchat.distill.student import Student
from fusionchat.distill.sums import everyones, of_pass, share
from fusionchat.errors import TrainingError
from fusionchat.models.device import memory_held

NAMED = 8
"""The most conversations that a message names."""


class Watched(NamedTuple):
    """What to observe of a training.

    Attributes:
        metrics: The file that gets a line for each step; None for none.
        label: The name of the training.
        name_of: The id of a conversation, by its number; called where a loss goes wrong.
        origins: The model of each distribution; None if all are the pivot's, or there are none.
        held_out: The text that is measured from time to time; None for nothing.
        every: Steps between two measurements; 0 for only those that decide which step is saved.
        report_to: The programs that each step is reported to, by their names in transformers.
    """

    metrics: Path | None = None
    label: str = "training"
    name_of: Callable[[int], str] = str
    origins: Origins | None = None
    held_out: HeldOut | None = None
    every: int = 0
    report_to: tuple[str, ...] = ()


class Course(NamedTuple):
    """The steps of a training.

    Attributes:
        plan: Part ``step * ranks + rank`` is for one rank and step.
        lengths: Tokens of each conversation.
        steps: The number of steps.
        done: The steps that were done before it was resumed.
        soft: Whether distributions are learnt.
    """

    plan: Sequence[Sequence[MicroBatch]]
    lengths: Sequence[int]
    steps: int
    done: int
    soft: bool

    def members(self, step: int, rank: int, world: int) -> list[list[int]]:
        """The conversations of each pass of a rank; none for a pass that is only filler."""
        part = self.plan[step * world + rank]
        return [list(micro.members) if micro.counts else [] for micro in part]

    def tokens(self, step: int, world: int) -> int:
        """Tokens of a step's conversations, over all ranks."""
        return sum(
            self.lengths[i] for rank in range(world) for part in self.members(step, rank, world) for i in part
        )


class Observer(TrainerCallback):
    """Watches a training; every process has one, and the first one writes.

    Args:
        watched: What to observe.
        course: The training's steps.
        file: Where lines go.
        best: Saves the weights of the best step; None if the target gets the last step's.
        keep_every: Steps between two that may be saved.
    """

    def __init__(
        self, watched: Watched, course: Course, file: MetricsFile, best: BestWeights | None, keep_every: int
    ) -> None:
        self.watched, self.course, self.file = watched, course, file
        self.best, self.keep_every = best, keep_every
        self.rank, self.world = place()
        self.divergence = Divergence()
        for line in file.lines:
            if isinstance(loss := line.get("label_loss"), float):
                self.divergence.has(loss)
        self.line: Line = {}
        self.passes: list[Tensor] = []
        self.clock = time.monotonic()
        self.measure: Callable[[], float] = float
        self.report: Callable[[dict[str, float]], object] = bool
        self.student: Student | None = None
        self.narrow: NarrowModel | None = None

    def begin(self, *, learning_rate: float, label_weight: float) -> None:
        """Called at the beginning of a step, before its passes."""
        self.passes.clear()
        self.line = {"learning_rate": learning_rate}
        if self.course.soft:
            self.line["label_weight"] = label_weight

    def add(self, sums: LossSums) -> None:
        """Called after each pass, with its sums."""
        self.passes.append(of_pass(sums))

    def made(self, step: int, device: torch.device) -> None:
        """Called after all passes of a step, before any weight changes; ``step`` counts from 0.

        Raises:
            TrainingError: The loss is not a number, or has grown too much.
        """
        members = self.course.members(step, self.rank, self.world)
        origins = self.watched.origins
        shares = [] if origins is None else origins.of(i for part in members for i in part).tolist()
        found = share(torch.stack(self.passes), shares, float(memory_held(device)))
        if not math.isfinite(found.sums.loss + found.sums.label):
            bad = [
                part
                for part, own in zip(members, self.passes, strict=True)
                if not torch.isfinite(own[:2]).all()
            ]
            raise self._gone_wrong("The loss is not a number", step, bad)
        self.line |= {name: value for name, value in found.sums.means().items() if value is not None}
        self.line |= {"rows": int(found.sums.rows), "memory": int(found.most)}
        if origins is not None:
            total = max(sum(found.more), 1.0)
            self.line["share_of_rows"] = {
                name: part / total for name, part in zip(origins.names, found.more, strict=True)
            }
        label = found.sums.label / max(found.sums.rows, 1.0)
        if self.divergence.has(label):
            raise self._gone_wrong(
                f"The loss of the labels is growing: it is {label:.2f} nats per token, and was above "
                f"{self.divergence.limit:.2f} in most of the last {WINDOW} steps",
                step,
                members,
            )

    def clipped(self, step: int, norm: float) -> None:
        """Called before the optimizer's step, with the gradient's norm.

        Raises:
            TrainingError: The norm is NaN or infinite.
        """
        if not math.isfinite(norm):
            members = self.course.members(step, self.rank, self.world)
            raise self._gone_wrong("The gradient is not a number", step, members)
        self.line["grad_norm"] = norm

    def _gone_wrong(self, what: str, step: int, members: Iterable[Sequence[int]]) -> TrainingError:
        """The error of a step; every process raises it at the same time."""
        names = everyones([self.watched.name_of(i) for part in members for i in part])
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return TrainingError(
            f"{what}, in step {step + 1} of {self.course.steps} of {self.watched.label}",
            where=f"conversations {', '.join(names[:NAMED])}{more}",
            do="look at these conversations; if nothing is wrong with them, lower distill.learning_rate, raise "
            "distill.warmup_ratio, or set distill.precision to fp32",
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure the pivot itself, if nothing is trained yet."""
        if self.watched.every and self.watched.held_out and state.global_step == 0:
            self._write({"step": 0, HELD_OUT: self.measure()})
        self.clock = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write the step's line, and measure held-out text if it is due."""
        step, seconds = state.global_step, time.monotonic() - self.clock
        tokens = self.course.tokens(step - 1, self.world)
        line = {"step": step, **self.line, "tokens": tokens, "seconds": seconds}
        line["tokens_per_second"] = tokens / max(seconds, 1e-9)
        last = step == self.course.steps
        keeps = self.best is not None and (last or step % self.keep_every == 0)
        shows = self.watched.every > 0 and (last or step % self.watched.every == 0)
        if self.watched.held_out is not None and (keeps or shows):
            line[HELD_OUT] = found = self.measure()
            if self.best is not None and keeps:
                assert self.student is not None
                self.best.offer(Best(step, found), self.student, self.narrow)
        self._write(line)
        self.clock = time.monotonic()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Leave the time of a checkpoint out of the next step's."""
        self.clock = time.monotonic()

    def _write(self, line: Line) -> None:
        self.file.write(line)
        step = line["step"]
        assert isinstance(step, int)
        if step > self.file.reached:
            self.report(flat(line))


def flat(line: Line) -> dict[str, float]:
    """The numbers of a line, as programs take them: ``share_of_rows/pivot``."""
    found: dict[str, float] = {}
    for key, value in line.items():
        if isinstance(value, dict):
            found |= {f"{key}/{name}": one for name, one in value.items() if isinstance(one, float | int)}
        elif isinstance(value, float | int) and key != "step":
            found[key] = value
    return found
