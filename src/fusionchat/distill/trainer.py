"""Distillation on `transformers.Trainer`: its optimizer, schedules, precision, checkpoints and resume; our loss."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
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
from fusionchat.distill.chance import no_chance
from fusionchat.distill.checkpoints import last_checkpoint, step_of
from fusionchat.distill.collate import StudentBatch, StudentData, plan_steps
from fusionchat.distill.loss import SoftTargets, Tail, soft_cross_entropy
from fusionchat.distill.settings import SoftTrainingSettings, TrainingSettings
from fusionchat.models.head import Head
from fusionchat.represent.topk import TopK
from fusionchat.runtime import RuntimeSettings


class DistillTrainer(Trainer):
    """A Trainer whose loss is `soft_cross_entropy`, divided by the supervised tokens of the whole step."""

    def __init__(self, *, model: PreTrainedModel, label_weight: float, tail: Tail, **kwargs: Any) -> None:
        # A compute_loss_func tells every release of Trainer that the loss is already scaled for accumulation.
        super().__init__(model=model, compute_loss_func=self.compute_loss, **kwargs)
        self.head = Head.of(model)
        self.label_weight, self.tail = label_weight, tail

    def compute_loss(  # type: ignore[override]
        self, model: torch.nn.Module, inputs: StudentBatch, return_outputs: bool = False, **_: Any
    ) -> torch.Tensor:
        """Mean loss of a step's supervised tokens, the part of one micro-batch."""
        with self.accelerator.autocast():
            hidden = self.head.hidden(inputs["input_ids"], inputs["attention_mask"]).flatten(0, 1)
        targets = SoftTargets(*(inputs[name] for name in SoftTargets._fields))  # type: ignore[literal-required]
        sums = soft_cross_entropy(
            hidden[inputs["positions"]],
            self.head.weight,
            targets,
            label_weight=self.label_weight,
            tail=self.tail,
            bias_V=self.head.bias,
            shape=self.head.shape,
        )
        return sums.loss / inputs["step_rows"] * self.accelerator.num_processes

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


class OneDevice(TrainingArguments):
    """Arguments of a training on one device.

    Trainer alone takes the first GPU, whichever was asked for, and where it sees several it joins as many batches
    into one and splits it among them; ours are whole micro-batches that must not be joined.
    """

    chosen: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        found = super().device
        return found if self.chosen is None else self.chosen

    @property
    def n_gpu(self) -> int:
        """At most one."""
        return min(super().n_gpu, 1)


class _Watch(TrainerCallback):
    """Moves the progress bar a step at a time."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance = advance

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Trainer calls this after every optimizer step."""
        self.advance(1)


class Trained(NamedTuple):
    """What a training left: its steps, supervised tokens seen, and Trainer's log."""

    steps: int
    log: list[dict[str, float]]


def train(
    model: PreTrainedModel,
    rendered: Sequence[Rendered],
    soft: TopK | None,
    *,
    label_weight: float,
    settings: TrainingSettings,
    runtime: RuntimeSettings,
    seed: int,
    folder: Path,
    device: torch.device,
    progress: Callable[[int], AbstractContextManager[Callable[[int], None]]],
) -> Trained:
    """Train a model in place, without dropout; a killed training continues from its last checkpoint in ``folder``.

    Args:
        model: The student, in fp32: small learning rates vanish in half-precision weights.
        rendered: The conversations in the student's template and tokens.
        soft: Fused distributions for the same rows, None for plain fine-tuning.
        label_weight: lambda.
        settings: Schedule and optimizer.
        runtime: Micro-batches and checkpoints.
        seed: Order of the conversations and every other random choice.
        folder: For checkpoints.
        device: Where to train.
        progress: Opens a progress bar of the steps that are to do.
    """
    assert all(p.dtype == torch.float32 for p in model.parameters()), "train in fp32"
    arguments = _arguments(settings, runtime, seed, folder, device)
    world = arguments.world_size
    accumulate = -(-settings.batch_size // (runtime.micro_batch_size * world))
    plan = plan_steps(
        [len(r.rows) for r in rendered],
        [len(r.input_ids) for r in rendered],
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        passes=accumulate * world,
        seed=seed,
    )
    steps = len(plan) // (accumulate * world)
    arguments.gradient_accumulation_steps = accumulate
    arguments.max_steps = steps
    arguments.warmup_steps = round(settings.warmup_ratio * steps)
    arguments.logging_steps = max(1, steps // 50)
    if runtime.gradient_checkpointing:
        # Renamed in transformers 5.2x; the old name is the only one that older releases have.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    checkpoint = last_checkpoint(folder)
    done = 0 if checkpoint is None else step_of(checkpoint)
    with progress(steps - done) as advance:
        trainer = DistillTrainer(
            model=model,
            label_weight=label_weight,
            tail=settings.tail if isinstance(settings, SoftTrainingSettings) else "bucket",
            args=arguments,
            train_dataset=StudentData(rendered, soft, plan),
            data_collator=lambda batch: batch[0],
            callbacks=[_Watch(advance)],
        )
        trainer.remove_callback(PrinterCallback)
        with no_chance(model):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    log = [{k: float(v) for k, v in entry.items()} for entry in trainer.state.log_history if "loss" in entry]
    return Trained(steps, log)


def _arguments(
    settings: TrainingSettings, runtime: RuntimeSettings, seed: int, folder: Path, device: torch.device
) -> TrainingArguments:
    arguments = OneDevice(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        bf16=settings.precision == "bf16",
        use_cpu=device.type == "cpu",
        save_strategy="steps",
        save_steps=runtime.checkpoint_steps,
        save_total_limit=2,
        seed=seed,
        data_seed=seed,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=True,
        report_to="none",
    )
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
        arguments.chosen = device
    return arguments
