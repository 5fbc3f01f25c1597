"""Stage `distill`: copies of the pivot learn fused distributions or (SFT) labels.

There is one job for each model and seed.
"""

import gc
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, SerializeAsAny

from fusionchat.artifacts import Json, read_json, write_json
from fusionchat.console import ignore, progress
from fusionchat.damage import verified_folder
from fusionchat.distill.checkpoints import describe
from fusionchat.distill.metrics import METRICS
from fusionchat.distill.precision import Bf16Weights
from fusionchat.distill.settings import SoftTrainingSettings, TrainingSettings
from fusionchat.distill.trainable import FULL, Qlora
from fusionchat.errors import CorpusError, RecipeError
from fusionchat.evaluate.row_bits import rendered_events
from fusionchat.models.device import pick_device, rank_device
from fusionchat.models.load import load_model
from fusionchat.models.opening import PLAIN
from fusionchat.models.precision import torch_dtype
from fusionchat.models.quantization import keep_layout
from fusionchat.models.ref import made_of
from fusionchat.models.tokenizer import copy_tokenizer
from fusionchat.recipe.schema import Recipe
from fusionchat.represent.store.read import DistributionStore
from fusionchat.run.estimate import training_cost
from fusionchat.run.job import Context, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.run.training_memory import training_memory
from fusionchat.run.world import world_here
from fusionchat.settings import Grown
from fusionchat.stages.answer import own_answers
from fusionchat.stages.corpus import files_of, read_part, read_tokens, tokens_file
from fusionchat.stages.names import CORPUS, Trained, corpus_of, distilled
from fusionchat.stages.noise import NOISE, TRAINING
from fusionchat.stages.variants import Training, trainings

if TYPE_CHECKING:
    from fusionchat.distill.held_out import HeldOut
    from fusionchat.distill.observer import Watched
    from fusionchat.distill.origins import Origins

VERSION = 6  # raised when the same settings and inputs give another output
CHECKPOINTS = "checkpoints"


class Settings(Grown):
    """Everything that changes a training except the corpus, the pivot and the distributions.

    Attributes:
        distill: How it is trained, with label weight and tail if it learns distributions.
        learns: The job whose distributions it learns; None for the labels alone.
        seed: Determines the order of the conversations and every other random choice.
        micro_batch_tokens: Positions of a pass, if the factors' dropout draws a mask for each; else None.
        of: The target of the round before, which it continues; None for a training from the pivot.
        model: The model that is trained, by its name in the run.
        saved: The dtype that a model trained whole is saved in; None for fp32.
    """

    where: ClassVar[str] = "distill"
    """The recipe's key of the settings, for messages."""
    later: ClassVar[tuple[str, ...]] = ("micro_batch_tokens", "of", "model", "saved")
    distill: SerializeAsAny[TrainingSettings | SoftTrainingSettings] = Field(union_mode="left_to_right")
    learns: str | None
    seed: int
    micro_batch_tokens: int | None = None
    of: Trained | None = None
    model: str = "pivot"
    saved: str | None = None


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan every training."""
    for training in trainings(run.recipe):
        if training.trained.round == 1:
            plan_training(run, training)


def plan_training(run: Run, training: Training) -> None:
    """Plan one training; a later round's continues the target of the round before."""
    recipe, of = run.recipe, training.trained if training.trained.round > 1 else None
    corpus, how = corpus_of(of), how_trained(recipe, training)
    run.add(
        "distill",
        str(training.trained),
        Settings(
            distill=how,
            learns=training.learns,
            seed=training.seed,
            micro_batch_tokens=recipe.runtime.micro_batch_tokens if draws_masks(recipe.distill) else None,
            of=of,
        ),
        needs=(
            CORPUS,  # the validation part is one of them
            corpus,
            *([training.learns] if training.learns else []),
            *([distilled(of.before)] if of else []),
        ),
        reads={CORPUS: (tokens_file("train", "pivot"), *held_out_files(recipe.distill))},
        content=run.model("pivot") | run.generation("pivot"),
        cost=training_cost(recipe, run.refs["pivot"], how),
        memory=training_memory(recipe, run.refs["pivot"]),
        on_device=True,
        parallel="ranks",
    )


def how_trained(recipe: Recipe, training: Training) -> TrainingSettings | SoftTrainingSettings:
    """The settings of a training; later rounds have their own number of epochs."""
    if training.learns is None:
        return recipe.sft
    own = recipe.distill.soft(training.label_weight)
    return own if training.trained.round == 1 else own.model_copy(update={"epochs": recipe.rounds.epochs})


def held_out_files(how: TrainingSettings, model: str = "pivot") -> tuple[str, ...]:
    """The files of the corpus that decide which step is the target; none if the last step is."""
    return () if how.keep_best is None else files_of("validation", model)


def draws_masks(how: TrainingSettings) -> bool:
    """Whether passes draw random numbers, as factors with dropout do."""
    return how.train != FULL and how.train.factors.dropout > 0


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """The progress of the training in a folder."""
    return "trained" if (out / TRAINING).is_file() else describe(out / CHECKPOINTS)


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Train, and save the target (a model, or an adapter) in fp32 with its tokenizer.

    The checkpoints are deleted.

    ``training.json`` records that the target is saved, so that half-deleted checkpoints are never resumed
    after a kill.
    """
    if not (out / TRAINING).is_file():
        train_target(settings, inputs, out, ctx)
        gc.collect()  # Trainer and model refer to each other; the next job needs their memory
    if ctx.rank:
        return {}
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)  # they only serve to resume a killed training
    saved = read_json(out / TRAINING)
    return {"steps": saved["steps"], "loss": saved["loss"], "processes": saved.get("processes", 1)}


def started_from(of: Trained, inputs: Inputs) -> Path:
    """The folder of the target that a later round continues: a model or an adapter."""
    return verified_folder(inputs.folder(distilled(of.before)) / "model")


def require_shareable(how: TrainingSettings, ctx: Context, where: str = "distill") -> None:
    """Raise RecipeError if the training cannot be split among processes."""
    if ctx.runtime.training.strategy == "fsdp2" and ctx.world > 1 and isinstance(how.train, Qlora):
        raise RecipeError(
            "A model in 4 bits cannot be split among processes",
            where="runtime.training.strategy",
            do="set ddp: in 4 bits each process holds the whole model in a quarter of the memory",
        )
    if ctx.runtime.training.strategy == "fsdp2" and ctx.world > 1 and isinstance(how.precision, Bf16Weights):
        raise RecipeError(
            "bf16 weights cannot be split among processes",
            where=f"{where}.precision",
            do="set bf16: each process then holds its part of fp32 weights; or runtime.training.strategy: ddp",
        )


def train_target(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> None:
    """Train a target and save it; ``training.json`` is written last."""
    import torch

    from fusionchat.distill.lora import load_factors, opening_of, save_adapter, with_factors
    from fusionchat.distill.trainer import train

    ref, how, where = inputs.model(settings.model), settings.distill, settings.where
    name = ctx.runtime.device
    device = pick_device(name) if ctx.world == 1 else rank_device(name, world_here().local_rank)
    corpus = inputs.folder(corpus_of(settings.of))
    rendered = read_tokens(corpus, "train", settings.model)
    learns = settings.learns
    soft = None if learns is None else DistributionStore(inputs.folder(learns)).require(rendered.offsets)
    if how.half:
        torch_dtype("bfloat16", device, where=f"{where}.precision")
    torch.manual_seed(settings.seed)
    part = how.train
    require_shareable(how, ctx, where)
    opening = PLAIN if part == FULL else opening_of(part, "bfloat16" if how.half else "float32")
    sharded = ctx.world > 1 and ctx.runtime.training.strategy == "fsdp2"
    # A sharded model is read into host memory, since it need not fit on any device.
    place = torch.device("cpu") if sharded else device
    start = None if settings.of is None else started_from(settings.of, inputs)
    first = made_of(ref, start, ref.name) if start is not None and part == FULL else ref
    model = load_model(first, dtype=torch.float32, device=place, opening=opening)
    keep_layout(model)
    adapted = None
    if part != FULL:
        adapted = with_factors(model, part.factors, ref, seed=settings.seed, where=f"{where}.train.lora")
    if adapted is not None and start is not None:
        load_factors(adapted, start)

    trained = train(
        model,
        rendered,
        soft,
        own=own_answers(corpus),
        label_weight=how.label_weight if isinstance(how, SoftTrainingSettings) else 1.0,
        settings=how,
        seed=settings.seed,
        micro_batch_tokens=ctx.runtime.micro_batch_tokens,
        gradient_checkpointing=ctx.runtime.gradient_checkpointing,
        checkpoint_steps=ctx.runtime.checkpoint_steps,
        folder=out / CHECKPOINTS,
        device=device,
        sharded=sharded,
        watched=watched(settings, inputs, out, ctx),
        progress=lambda steps, done: (
            progress(inputs.job.label, steps, "steps", before=done) if ctx.rank == 0 else nullcontext(ignore)
        ),
    )
    if ctx.rank:
        return
    if part == FULL or adapted is None:
        if settings.saved is not None:
            torch.nn.Module.to(model, torch_dtype(settings.saved, torch.device("cpu"), where=where))
        model.save_pretrained(out / "model")
    else:
        save_adapter(adapted, ref, out / "model", part)
    copy_tokenizer(ref, out / "model")
    loss = round(trained.log[-1]["loss"], 5) if trained.log else None
    more: dict[str, Json] = {NOISE: trained.noise} if trained.noise else {}
    if trained.best is not None:
        more |= {"best": dict(trained.best._asdict())}
    write_json(
        out / TRAINING,
        {"steps": trained.steps, "loss": loss, "processes": ctx.world, "log": trained.log} | more,
    )


def watched(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> "Watched":
    """What to observe of a training; the corpus's text is read only if needed."""
    from fusionchat.distill.observer import Watched

    trained, shown = inputs.folder(corpus_of(settings.of)), ctx.runtime.training
    measures = shown.eval_steps is not None or settings.distill.keep_best is not None
    return Watched(
        metrics=out / METRICS,
        label=inputs.job.label,
        name_of=lambda index: read_part(trained, "train")[index].id,
        origins=origins_of(settings.learns, inputs),
        held_out=held_out(inputs.folder(CORPUS), settings.model, settings.where) if measures else None,
        every=shown.eval_steps or 0,
        report_to=shown.report_to,
    )


def origins_of(learns: str | None, inputs: Inputs) -> "Origins | None":
    """The models of the distributions that a training learns; None if no fusion made them."""
    from fusionchat.distill.origins import WEIGHTS, Origins

    if learns is None:
        return None
    store = DistributionStore(inputs.folder(learns))
    sources = inputs.manifest(learns).settings.get("sources")
    if WEIGHTS not in store.shard(0).columns or not isinstance(sources, list):
        return None
    return Origins(store, ("pivot", *map(str, sources)))


def held_out(corpus: Path, model: str, where: str = "distill") -> "HeldOut":
    """The validation part as a model sees it; raises CorpusError if it is empty."""
    from fusionchat.distill.held_out import HeldOut

    rendered = read_tokens(corpus, "validation", model)
    total = int(rendered_events(rendered, read_part(corpus, "validation")).bytes.sum())
    if total == 0:
        raise CorpusError(
            "The validation part has no text to measure a training on",
            where="corpus.validation",
            do=f"add some, or leave out {where}.keep_best and runtime.training.eval_steps",
        )
    return HeldOut(rendered, total)
