"""Arguments of transformers' Trainer for our trainings."""

from pathlib import Path

import torch
from transformers import TrainingArguments

from fusionchat.distill.settings import TrainingSettings


class OneDevice(TrainingArguments):
    """Arguments of a training on one device.

    By itself Trainer takes the first GPU, whichever was asked for; with several GPUs it joins one batch for
    each and splits the result among them. Ours are whole micro-batches that must not be joined.
    """

    chosen: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        found = super().device
        return found if self.chosen is None else self.chosen

    @property
    def n_gpu(self) -> int:
        """At most one."""
        return min(super().n_gpu, 1)


def arguments_of(
    settings: TrainingSettings, checkpoint_steps: int, seed: int, folder: Path, device: torch.device
) -> TrainingArguments:
    """The arguments of transformers' Trainer: a micro-batch is one item.

    A checkpoint is saved every ``checkpoint_steps`` steps.
    """
    arguments = OneDevice(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=settings.optim,
        bf16=settings.half,
        use_cpu=device.type == "cpu",
        save_strategy="steps",
        save_steps=checkpoint_steps,
        save_total_limit=1,  # the older one is deleted once the newer one is complete
        seed=seed,
        data_seed=seed,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=True,
        report_to="none",
    )
    arguments.mixed_precision = "bf16" if settings.half else "no"  # not accelerate's
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
        arguments.chosen = device
    return arguments
