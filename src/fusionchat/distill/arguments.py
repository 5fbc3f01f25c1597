"""Arguments of transformers' Trainer for a training of ours."""

from pathlib import Path

import torch
from transformers import TrainingArguments

from fusionchat.distill.settings import TrainingSettings


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


def arguments_of(
    settings: TrainingSettings, checkpoint_steps: int, seed: int, folder: Path, device: torch.device
) -> TrainingArguments:
    """What transformers' Trainer goes by: a micro-batch is one item, and a checkpoint is kept every some steps."""
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
        save_total_limit=1,  # the older one goes when the newer one is whole
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
