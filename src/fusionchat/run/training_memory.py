"""The memory of each process of a recipe's trainings, from settings and the pivot's configuration."""

import json

from fusionchat.distill.footprint import Footprint, Shape, footprint
from fusionchat.distill.settings import TrainingSettings
from fusionchat.hub import configuration_folder
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe
from fusionchat.run.estimate import parameters, trained_parameters

PROCESS = 0.7e9
"""Bytes of a process with torch, or of CUDA on a GPU, before a model is loaded."""


def shape_of(pivot: ModelRef) -> Shape | None:
    """The sizes of a model from its configuration; None if that is missing or lacks one of them."""
    folder = configuration_folder(pivot.place)
    path = None if folder is None else folder / "config.json"
    if path is None or not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the run says what is wrong with it
        return None
    return Shape.of_config(config, parameters(pivot) or 0) if isinstance(config, dict) else None


def pass_tokens(recipe: Recipe, how: TrainingSettings) -> int:
    """Positions of the largest pass; a conversation that is longer than a pass is one by itself."""
    longest = recipe.corpus.max_tokens
    return min(max(recipe.runtime.micro_batch_tokens, longest), how.batch_size * longest)


def training_footprint(
    recipe: Recipe, pivot: ModelRef, how: TrainingSettings | None = None, *, ranks: int, gpu: bool
) -> Footprint | None:
    """The memory of one of ``ranks`` processes, on a GPU or the host; None if the pivot is not here."""
    how = how or recipe.distill
    shape, tokens = shape_of(pivot), pass_tokens(recipe, how)
    if shape is None:
        return None
    return footprint(
        shape,
        how,
        tokens=tokens,
        rows=tokens,
        trained=trained_parameters(recipe, pivot, how),
        ranks=ranks,
        sharded=ranks > 1 and recipe.runtime.training.strategy == "fsdp2",
        checkpointing=recipe.runtime.gradient_checkpointing,
        gpu=gpu,
    )


def training_memory(
    recipe: Recipe,
    pivot: ModelRef,
    how: TrainingSettings | None = None,
    *,
    ranks: int | None = None,
    gpu: bool = False,
) -> float | None:
    """Bytes of one training process, including the libraries; None if the model is not on this machine.

    Args:
        recipe: The recipe.
        pivot: The model that is trained.
        how: The training's settings; None for `recipe.distill`.
        ranks: The number of processes; None for the recipe's, or one if it leaves that to the machine.
        gpu: Whether the memory is a GPU's.
    """
    asked = recipe.runtime.training.processes
    ranks = ranks or (asked if isinstance(asked, int) else 1)
    found = training_footprint(recipe, pivot, how, ranks=ranks, gpu=gpu)
    return None if found is None else found.total + PROCESS
