"""Stage `distill`: train copies of the pivot on fused distributions. One job a target and label weight, one for SFT."""

import gc
import shutil
from pathlib import Path

from fusionchat.artifacts import Json, read_json, write_json
from fusionchat.console import progress
from fusionchat.corpus.stage import JOB as CORPUS
from fusionchat.corpus.stage import make_renderer, read_part
from fusionchat.estimate import training_cost
from fusionchat.fuse.stage import job_id as fuse_job
from fusionchat.fuse.stage import targets
from fusionchat.jobs import Run, Summary
from fusionchat.models import copy_tokenizer, load_model, pick_device
from fusionchat.precision import torch_dtype
from fusionchat.represent.shards import read_all
from fusionchat.represent.stage import render_all

VERSION = 2  # raised when the same settings and inputs give another output
SFT = "sft"
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


def plan(run: Run) -> None:
    """Plan every training."""
    recipe = run.recipe
    own: dict[str, Json] = recipe.distill.model_dump(exclude={"label_weight", "sweep", "tail"})
    content, cost = run.model("pivot") | run.generation("pivot"), training_cost(recipe, run.refs["pivot"])
    base: dict[str, Json] = {"seed": recipe.seed}
    if recipe.compare.sft:
        run.add(
            "distill",
            SFT,
            lambda folder: work(run, None, 1.0, folder),
            settings={"distill": own, **base},
            needs=(CORPUS,),
            content=content,
            cost=cost,
        )
    for weight in recipe.distill.label_weights:
        for target in targets(run):
            run.add(
                "distill",
                label(target, weight),
                lambda folder, target=target, weight=weight: work(run, target, weight, folder),  # type: ignore[misc]
                settings={"distill": own | {"label_weight": weight, "tail": recipe.distill.tail}, **base},
                needs=(CORPUS, fuse_job(target)),
                content=content,
                cost=cost,
            )


def work(run: Run, target: str | None, label_weight: float, folder: Path) -> Summary:
    """Train, save the target in fp32 with the pivot's tokenizer, and take the checkpoints away.

    ``training.json`` says that the target is saved: checkpoints that a kill left half removed are never gone on from.
    """
    if not (folder / TRAINING).is_file():
        train_target(run, target, label_weight, folder)
        gc.collect()  # Trainer and model refer to each other; the next job needs their memory
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # they serve a killed training only
    saved = read_json(folder / TRAINING)
    return {"steps": saved["steps"], "loss": saved["loss"]}


def train_target(run: Run, target: str | None, label_weight: float, folder: Path) -> None:
    """Train a target and save it; ``training.json`` is written last."""
    import torch

    from fusionchat.distill.trainer import train

    recipe, pivot = run.recipe, run.refs["pivot"]
    device = pick_device(recipe.runtime.device)
    rendered = render_all(make_renderer(pivot), read_part(run, "train"))
    soft = None if target is None else read_all(run.path(fuse_job(target)))
    if recipe.distill.precision == "bf16":
        torch_dtype("bfloat16", device, where="distill.precision")
    torch.manual_seed(recipe.seed)
    model = load_model(pivot, dtype=torch.float32, device=device)
    name = SFT if target is None else label(target, label_weight)

    trained = train(
        model,
        rendered,
        soft,
        label_weight=label_weight,
        settings=recipe.distill,
        runtime=recipe.runtime,
        seed=recipe.seed,
        folder=folder / CHECKPOINTS,
        device=device,
        progress=lambda steps: progress(f"distill {name}", steps),
    )
    model.save_pretrained(folder / "model")
    copy_tokenizer(pivot, folder / "model")
    loss = round(trained.log[-1]["loss"], 5) if trained.log else None
    write_json(folder / TRAINING, {"steps": trained.steps, "loss": loss, "log": trained.log})
