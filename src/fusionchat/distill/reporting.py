"""The programs that show a training's progress: tensorboard, wandb and others of transformers."""

import os
from collections.abc import Sequence
from pathlib import Path

from transformers import TrainerCallback
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
    get_available_reporting_integrations,
    is_tensorboard_available,
)

from fusionchat.errors import RecipeError
from fusionchat.settings import no_such

WHERE = "runtime.training.report_to"
TENSORBOARD = "tensorboard"
"""The program's name, and that of its folder in the training's folder."""


def require_reporters(names: Sequence[str]) -> None:
    """Raise RecipeError if a program is unknown or not installed."""
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise RecipeError(no_such("program", name, list(INTEGRATION_TO_CALLBACK)), where=WHERE)
        there = is_tensorboard_available() if name == TENSORBOARD else None
        if not (name in get_available_reporting_integrations() if there is None else there):
            package = "'fusionchat[tensorboard]'" if name == TENSORBOARD else name.replace("_", "-")
            raise RecipeError(
                f"{name} is not installed",
                where=WHERE,
                do=f"pip install {package}, or leave it out: metrics.jsonl has the same figures",
            )


def reporters(names: Sequence[str], folder: Path) -> list[TrainerCallback]:
    """Trainer's callbacks for the programs.

    Args:
        names: The names of installed programs.
        folder: The training's; tensorboard's files go into a subfolder, unless TENSORBOARD_LOGGING_DIR is
            set.
    """
    found = [INTEGRATION_TO_CALLBACK[name]() for name in names]
    for one in found:
        if isinstance(one, TensorBoardCallback) and "TENSORBOARD_LOGGING_DIR" not in os.environ:
            one.logging_dir = str(folder / TENSORBOARD)
    return found
