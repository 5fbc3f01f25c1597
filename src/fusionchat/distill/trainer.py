"""Distillation with our loss on `transformers.Trainer`.

Its optimizer, schedules, precision, checkpoints and resume are used.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch.distributed.tensor import DTensor
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from fusionchat.corpus.render import Rendered
from fusionchat.distill.arguments import arguments_of
from fusionchat.distill.batching import pass_positions, plan_steps
from fusionchat.distill.best import Best, BestWeights
from fusionchat.distill.bf16_weights import NarrowModel, narrowed
from fusionchat.distill.checkpoints import last_checkpoint, step_of
from fusionchat.distill.data import Distributions, StudentBatch, StudentData
from fusionchat.distill.dropout import without_dropout
from fusionchat.distill.freed import freed_goes_back
from fusionchat.distill.held_out import HeldOut, bits_per_byte, measuring, passes
from fusionchat.distill.lora import round_frozen
from fusionchat.distill.loss import LossSums
from fusionchat.distill.metrics import MetricsFile
from fusionchat.distill.observer import Course, Observer, Watched
from fusionchat.distill.parallel import join, place, wait_for_all
from fusionchat.distill.per_matrix import one_by_one
from fusionchat.distill.reporting import reporters
from fusionchat.distill.rounding import on_grid
from fusionchat.distill.schedule import label_weight_at
from fusionchat.distill.settings import SoftTrainingSettings, TrainingSettings
from fusionchat.distill.sharded import gather, own_parts, shard
from fusionchat.distill.sharded_checkpoints import (
    MOMENTS,
    PARTS,
    load_optimizer,
    load_weights,
    save_optimizer,
    save_weights,
)
from fusionchat.distill.student import Student
from fusionchat.models.onednn import has_amx

SCHEDULER = "scheduler.pt"
"""Trainer's file of the learning rate's state in a checkpoint."""
WEIGHTS = "model.safetensors"
"""The student's weights in a checkpoint, under its own names."""


class DistillTrainer(Trainer):
    """A Trainer of a `Student`: the summed loss is divided once by the whole step's supervised tokens."""

    def __init__(
        self,
        *,
        model: Student,
        label_weight: Callable[[int], float] | None = None,
        sharded: bool = False,
        narrow: NarrowModel | None = None,
        observer: Observer,
        **kwargs: Any,
    ) -> None:
        self.sharded, self.observer = sharded, observer
        if sharded:
            # accelerate's own mark: it then does not wrap the model in DDP
            model._is_accelerate_prepared = True  # type: ignore[assignment]
        # A compute_loss_func tells every release of Trainer that the loss is already scaled for accumulation.
        super().__init__(model=model, compute_loss_func=self.compute_loss, **kwargs)
        self.student, self.label_weight, self.narrow = model, label_weight, narrow
        observer.student, observer.narrow = model, narrow
        observer.report = self._report
        self.add_callback(observer)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Trainer's optimizer; for bf16 weights, one that steps on them in fp32."""
        if self.narrow is None:
            return super().create_optimizer(model)
        self.optimizer = one_by_one(self, self.student, self.narrow)
        return self.optimizer

    def compute_loss(  # type: ignore[override]
        self, model: torch.nn.Module, inputs: StudentBatch, return_outputs: bool = False, **_: Any
    ) -> torch.Tensor:
        """One micro-batch's part of the mean loss of a step's supervised tokens."""
        sums: LossSums = model(inputs)
        self.observer.add(sums)
        return sums.loss / inputs["step_rows"] * self.accelerator.num_processes

    def training_step(  # type: ignore[override]
        self, model: torch.nn.Module, inputs: list[StudentBatch], num_items_in_batch: object = None
    ) -> torch.Tensor:
        """Forward and backward over a step's micro-batches, whose number may differ from step to step.

        Trainer's own accumulation has one number for all steps. Ranks exchange gradients after the last
        micro-batch.
        """
        model.train()
        if self.label_weight is not None:
            self.student.label_weight = self.label_weight(self.state.global_step)
        assert self.optimizer is not None
        rate = float(self.optimizer.param_groups[0]["lr"])
        self.observer.begin(learning_rate=rate, label_weight=self.student.label_weight)
        total = torch.zeros((), device=self.args.device)
        found: Any = self._prepare_inputs(inputs)  # type: ignore[arg-type]
        *before, last = found
        with self._rounded():
            for batch in before:
                with self.accelerator.no_sync(model):
                    total += self._pass(model, batch)
            total += self._pass(model, last)
        self.observer.made(self.state.global_step, self.args.device)
        return total

    def _pass(self, model: torch.nn.Module, batch: StudentBatch) -> torch.Tensor:
        with self.compute_loss_context_manager(), self._autocast():
            loss = self.compute_loss(model, batch)
        self.accelerator.backward(loss)
        return loss.detach()

    def _rounded(self) -> AbstractContextManager[None]:
        """A context in which a bf16 step's passes see the weights, or this process's parts, rounded."""
        seed, step = self.args.seed, self.state.global_step
        if not self.args.bf16:
            return nullcontext()
        if not self.sharded:
            return self.student.rounded_once(seed, step)
        return on_grid(own_parts(self.student), seed=seed + (self.args.process_index << 32), step=step)

    def _autocast(self) -> AbstractContextManager[object]:
        """Autocast for the bf16 passes of a sharded student, where accelerate does not set it up.

        It caches no copy of a weight, so none outlives its block.
        """
        if not (self.sharded and self.args.bf16):
            return nullcontext()
        return torch.autocast(self.args.device.type, torch.bfloat16, cache_enabled=False)

    def _move_model_to_device(self, model: torch.nn.Module, device: torch.device) -> None:
        if not self.sharded:  # its parts are in place already
            super()._move_model_to_device(model, device)

    def _clip_grad_norm(self, model: torch.nn.Module) -> torch.Tensor:
        norm: torch.Tensor = super()._clip_grad_norm(model)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        self.observer.clipped(self.state.global_step, float(norm))
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Record Trainer's own figures in its history only; programs get the observer's, of every step."""
        self.state.log_history.append(
            {**logs, "epoch": self.state.epoch or 0.0, "step": self.state.global_step}
        )

    def _report(self, logs: dict[str, float]) -> None:
        """Pass a step's figures on to the programs that show them."""
        asked = self.control.should_log
        self.callback_handler.on_log(self.args, self.state, self.control, logs)
        self.control.should_log = asked  # Trainer's own log of this step comes later

    def held_out_bits(self, held: HeldOut, micro_tokens: int, pass_cost: float) -> float:
        """Bits per byte of held-out conversations, with the precision and rounding of training passes."""
        batches: Any = passes(held, micro_tokens, pass_cost)
        with self._rounded(), self._autocast(), measuring(self.student):
            return bits_per_byte(self.student, map(self._prepare_inputs, batches), held.bytes)  # type: ignore[arg-type]

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        assert self.optimizer is not None and self.lr_scheduler is not None
        save_optimizer(bare(self.optimizer), self.student, Path(output_dir))
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not (self.sharded or (Path(checkpoint) / MOMENTS).is_dir()):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        assert self.optimizer is not None and self.lr_scheduler is not None
        optimizer = bare(self.optimizer)
        load_optimizer(optimizer, self.student, Path(checkpoint))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER, weights_only=True))
        for group, rate in zip(optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.sharded:
            save_weights(self.student, Path(output_dir or str(self.args.output_dir)))
            return
        # Tied weights are one tensor with two names, which Trainer refuses to save for a plain module.
        if self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            if (trained := self.student.factors()) is None:
                save_model(self.student, str(folder / WEIGHTS))
            else:
                save_file({name: one.detach() for name, one in trained.items()}, str(folder / WEIGHTS))

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        checkpoint = Path(resume_from_checkpoint)
        if self.sharded or (checkpoint / PARTS).is_dir():
            load_weights(self.student, checkpoint)
        elif (trained := self.student.factors()) is None:
            load_model(model or self.student, checkpoint / WEIGHTS)
        else:
            held = load_file(checkpoint / WEIGHTS)
            for name, parameter in trained.items():
                parameter.data.copy_(held[name])

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


def bare(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer itself, without accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)


class _Watch(TrainerCallback):
    """Moves the progress bar a step at a time, and has memory looked after."""

    def __init__(self, advance: Callable[[int], None], settle: Callable[[], None]) -> None:
        self.advance, self.settle = advance, settle

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Trainer calls this after every optimizer step."""
        self.advance(1)
        self.settle()


class Trained(NamedTuple):
    """The result of a training.

    Attributes:
        steps: How many steps it has made.
        log: Trainer's log.
        noise: The rms of what rounding added to the change of a weight.
        best: The step whose weights the model has; None for the last one.
    """

    steps: int
    log: list[dict[str, float]]
    noise: float = 0.0
    best: Best | None = None


def train(
    model: PreTrainedModel,
    rendered: Sequence[Rendered],
    soft: Distributions | None,
    *,
    label_weight: float,
    settings: TrainingSettings,
    seed: int,
    micro_batch_tokens: int,
    gradient_checkpointing: bool,
    checkpoint_steps: int,
    folder: Path,
    device: torch.device,
    progress: Callable[[int, int], AbstractContextManager[Callable[[int], None]]],
    own: Collection[int] = frozenset(),
    sharded: bool = False,
    watched: Watched = Watched(),  # noqa: B008 (immutable)
) -> Trained:
    """Train a model in place, without dropout, resuming from the last checkpoint in ``folder``.

    Args:
        model: The student; its trained parameters are in fp32 (or fp64), since half-precision weights lose
            small changes.
        rendered: The conversations in the student's template and tokens.
        soft: Fused distributions of each conversation, None for plain fine-tuning.
        label_weight: lambda.
        settings: Schedule and optimizer.
        seed: Determines the order of the conversations and every other random choice.
        micro_batch_tokens: Positions in one pass on one device, padding included.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
        checkpoint_steps: Steps between two checkpoints.
        folder: For checkpoints.
        device: Where to train.
        progress: Opens a progress bar, given the number of steps and how many an earlier run has made.
        own: Conversations whose answers are the student's own: trained on their distributions alone,
            whatever lambda is.
        sharded: Whether each process has a part of the model (FSDP2); afterwards it is whole in rank 0,
            and empty in others.
        watched: What to observe.

    Raises:
        TrainingError: The loss is not a number, or has grown too much.
    """
    # 1. the plan of all steps; each rank trains its part
    wide = (torch.float32, torch.float64)  # a list of the parameters would keep them whole under FSDP2
    assert all(p.dtype in wide for p in model.parameters() if p.requires_grad), "train in fp32"
    join(device)
    arguments = arguments_of(settings, checkpoint_steps, seed, folder, device)
    world = arguments.world_size
    lengths = [len(r.input_ids) for r in rendered]
    gpu = device.type != "cpu"
    pass_cost = pass_positions(model.num_parameters(), gpu=gpu, amx=settings.half and has_amx() and not gpu)
    plan = plan_steps(
        [len(r.rows) for r in rendered],
        lengths,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        micro_tokens=micro_batch_tokens,
        pass_cost=pass_cost,
        ranks=world,
        seed=seed,
    )
    steps = len(plan) // world
    # 2. the schedule, in steps
    arguments.max_steps = steps
    arguments.warmup_steps = round(settings.warmup_ratio * steps)
    arguments.logging_steps = max(1, steps // 50)
    if gradient_checkpointing:
        # Renamed in transformers 5.2x; the old name is the only one that older releases have.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    # 3. where a killed training continues
    checkpoint = last_checkpoint(folder)
    done = 0 if checkpoint is None else step_of(checkpoint)
    # 4. lambda at each step; without distributions the loss does not use it
    how = settings if soft is not None and isinstance(settings, SoftTrainingSettings) else None
    last = None if how is None else how.label_weight_end
    student = Student.of(
        model,
        label_weight=label_weight,
        tail="bucket" if how is None else how.tail,
        focus=0.0 if how is None else how.focus,
    )
    narrow = narrowed(model, settings.precision, seed=seed)
    if sharded:
        shard(student, arguments.device, bf16=settings.half)
    observer = _observer(
        watched, Course(plan, lengths, steps, done, soft is not None), settings, folder, sharded
    )
    with freed_goes_back() as settle, progress(steps, done) as advance:
        trainer = DistillTrainer(
            model=student,
            sharded=sharded,
            narrow=narrow,
            observer=observer,
            label_weight=lambda step: label_weight_at(step, steps, first=label_weight, last=last),
            args=arguments,
            train_dataset=StudentData(rendered, soft, plan, own),
            data_collator=lambda batch: batch[0],
            callbacks=[_Watch(advance, settle), *reporters(watched.report_to, folder.parent)],
        )
        trainer.remove_callback(PrinterCallback)
        if watched.held_out is not None:
            observer.measure = partial(trainer.held_out_bits, watched.held_out, micro_batch_tokens, pass_cost)
        if arguments.bf16:  # after the student's head was checked, which needs no autocast
            round_frozen(model, torch.bfloat16)
        with without_dropout(model):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    noise = 0.0 if narrow is None else narrow.noise
    best = _whole(student, narrow, observer.best, sharded=sharded)
    log = [{k: float(v) for k, v in entry.items()} for entry in trainer.state.log_history if "loss" in entry]
    return Trained(steps, log, noise, best)


def _observer(
    watched: Watched, course: Course, settings: TrainingSettings, folder: Path, sharded: bool
) -> Observer:
    writes = place()[0] == 0
    file = MetricsFile(watched.metrics, course.done, writes=writes)
    best = None if settings.keep_best is None else BestWeights(folder, sharded=sharded, writes=writes)
    return Observer(watched, course, file, best, settings.keep_best or 1)


def _whole(
    student: Student, narrow: NarrowModel | None, kept: BestWeights | None, *, sharded: bool
) -> Best | None:
    """Make a trained student whole and fp32, in rank 0; returns the step whose weights it has.

    That is the best step where its weights were saved; None for the last one.
    """
    wait_for_all()
    if sharded:
        if kept is not None:
            kept.restore(student)
        gather(student, keep=place()[0] == 0)
    if narrow is not None:
        narrow.widen()
    if not sharded and kept is not None:
        kept.restore(student)
    wait_for_all()  # rank 0 deletes the checkpoints, which others may still be writing
    return None if kept is None else kept.best
