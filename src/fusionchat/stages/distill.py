"""Stage `distill`: copies of the pivot learn fused distributions or (SFT) labels; one job per model and seed."""

import gc
import shutil
from pathlib import Path
from typing import NamedTuple

from fusionchat.artifacts import Json, read_json, write_json
from fusionchat.console import progress
from fusionchat.distill.checkpoints import describe
from fusionchat.distill.seeds import nth, seed_of
from fusionchat.models.device import pick_device
from fusionchat.models.load import load_model
from fusionchat.models.precision import torch_dtype
from fusionchat.models.tokenizer import copy_tokenizer
from fusionchat.represent.shards import read_all
from fusionchat.run.estimate import training_cost
from fusionchat.run.job import Run, Summary
from fusionchat.stages.corpus import JOB as CORPUS
from fusionchat.stages.corpus import make_renderer, read_part
from fusionchat.stages.fuse import job_id as fuse_job
from fusionchat.stages.fuse import targets
from fusionchat.stages.represent import job_id as represent_job
from fusionchat.stages.represent import render_all

VERSION = 2  # raised when the same settings and inputs give another output
SFT = "sft"
SELF = "pivot"  # a target that learns from the pivot itself
CHECKPOINTS = "checkpoints"
TRAINING = "training.json"


def weight_text(weight: float) -> str:
    """A label weight in as few digits as name it and no other."""
    short = f"{weight:g}"
    return short if float(short) == weight else repr(weight)


def label(target: str, weight: float) -> str:
    """The name of a target trained with a label weight: ``mixtral@0.9``; other weights give other names."""
    return f"{target}@{weight_text(weight)}"


def job_id(name: str) -> str:
    """The job that trains a target (by its `label`) or ``sft``."""
    return f"distill/{name}"


class Training(NamedTuple):
    """One training of a copy of the pivot.

    Attributes:
        name: Its job's name.
        seed: Order of the conversations and every other random choice.
        learns: The job whose distributions it learns; None for the labels alone.
        label_weight: lambda.
    """

    name: str
    seed: int
    learns: str | None = None
    label_weight: float = 1.0


def trainings(run: Run) -> list[Training]:
    """Every training in the order of the jobs: all of the first seed, then those of the next."""
    recipe = run.recipe
    teachers = {target: fuse_job(target) for target in targets(run)}
    found = []
    for number in range(1, max(recipe.sft_seeds, recipe.distill.seeds) + 1):
        seed = seed_of(recipe.seed, number)
        if number <= recipe.sft_seeds:
            found.append(Training(nth(SFT, number), seed))
        if number > recipe.distill.seeds:
            continue
        weights = [(weight, teachers) for weight in recipe.distill.label_weights]
        if recipe.compare.self_distillation:
            weights.append((recipe.distill.label_weight, {SELF: represent_job("pivot")}))
        for weight, learnt in weights:
            found += [
                Training(nth(label(name, weight), number), seed, job, weight) for name, job in learnt.items()
            ]
    return found


def plan(run: Run) -> None:
    """Plan every training."""
    recipe = run.recipe
    own: dict[str, Json] = recipe.distill.model_dump(exclude={"label_weight", "sweep", "tail", "seeds"})
    content, cost = run.model("pivot") | run.generation("pivot"), training_cost(recipe, run.refs["pivot"])
    for training in trainings(run):
        soft: dict[str, Json] = {"label_weight": training.label_weight, "tail": recipe.distill.tail}
        run.add(
            "distill",
            training.name,
            lambda folder, training=training: work(run, training, folder),  # type: ignore[misc]
            settings={"distill": own | (soft if training.learns else {}), "seed": training.seed},
            needs=(CORPUS, training.learns) if training.learns else (CORPUS,),
            content=content,
            cost=cost,
            so_far=so_far,
        )


def so_far(folder: Path) -> str:
    """How far a training is whose folder this is."""
    return "trained" if (folder / TRAINING).is_file() else describe(folder / CHECKPOINTS)


def work(run: Run, training: Training, folder: Path) -> Summary:
    """Train, save the target in fp32 with the pivot's tokenizer, and take the checkpoints away.

    ``training.json`` says that the target is saved: checkpoints that a kill left half removed are never gone on from.
    """
    if not (folder / TRAINING).is_file():
        train_target(run, training, folder)
        gc.collect()  # Trainer and model refer to each other; the next job needs their memory
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # they serve a killed training only
    saved = read_json(folder / TRAINING)
    return {"steps": saved["steps"], "loss": saved["loss"]}


def train_target(run: Run, training: Training, folder: Path) -> None:
    """Train a target and save it; ``training.json`` is written last."""
    import torch

    from fusionchat.distill.trainer import train

    recipe, pivot = run.recipe, run.refs["pivot"]
    device = pick_device(recipe.runtime.device)
    rendered = render_all(make_renderer(pivot), read_part(run, "train"))
    soft = None if training.learns is None else read_all(run.path(training.learns))
    if recipe.distill.precision == "bf16":
        torch_dtype("bfloat16", device, where="distill.precision")
    torch.manual_seed(training.seed)
    model = load_model(pivot, dtype=torch.float32, device=device)

    trained = train(
        model,
        rendered,
        soft,
        label_weight=training.label_weight,
        settings=recipe.distill,
        runtime=recipe.runtime,
        seed=training.seed,
        folder=folder / CHECKPOINTS,
        device=device,
        progress=lambda steps: progress(f"distill {training.name}", steps, "steps"),
    )
    model.save_pretrained(folder / "model")
    copy_tokenizer(pivot, folder / "model")
    loss = round(trained.log[-1]["loss"], 5) if trained.log else None
    write_json(folder / TRAINING, {"steps": trained.steps, "loss": loss, "log": trained.log})
