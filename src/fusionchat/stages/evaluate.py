"""Stage `evaluate`: the tasks' measurements, one job per model."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from fusionchat.artifacts import Json, sha256_file, sha256_known
from fusionchat.corpus.conversation import Conversation
from fusionchat.corpus.render import Rendered
from fusionchat.damage import verified
from fusionchat.distill.trainable import FULL
from fusionchat.errors import CorpusError
from fusionchat.evaluate.measure import loss, measure, require_measurable
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.evaluate.tasks import ALWAYS, METRICS, PRIMARY
from fusionchat.evaluate.tasks.base import Subject
from fusionchat.hub import find
from fusionchat.models.opening import PLAIN, Opening
from fusionchat.models.precision import torch_dtype
from fusionchat.models.quantization import keep_layout
from fusionchat.models.ref import ModelRef, made_of
from fusionchat.run.estimate import capture_memory, evaluation_cost
from fusionchat.run.job import Content, Context, Inputs, Place, Summary
from fusionchat.run.plan import Run
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Grown
from fusionchat.stages.corpus import files_of, make_renderer, read_part, read_tokens
from fusionchat.stages.names import BEST, CORPUS, PUBLISHED, SELECTION, TEACHERS, Part, Row, evaluated
from fusionchat.stages.select_label_weight import selected
from fusionchat.stages.variants import rows

AS_TRAINED = "bits_per_byte_as_trained"
VERSION = 5  # raised when the same settings and inputs give another output


class Settings(Grown):
    """Everything that changes an evaluation except the corpus and the model.

    Attributes:
        part: The part of the corpus.
        row: The model.
        evaluate: What is measured, and the dtype, ``auto`` resolved.
        label_weights: The label weights of the sweep, the recipe's own first; empty if the row has a fixed
            one.
        opening: How a source's weights are loaded, as for its capture.
        trained_in: How the pivot's weights were loaded while an adapter was trained, if not unchanged: the
            adapter is measured on those too.
    """

    later: ClassVar[tuple[str, ...]] = ("trained_in",)
    part: Part
    row: Row
    evaluate: EvaluateSettings
    label_weights: tuple[float, ...] = ()
    opening: Opening = PLAIN
    trained_in: Opening | None = None


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan one job per row of the results, after checking the files that tasks read."""
    evaluate = run.recipe.evaluate
    evaluate.refuse(task_files(evaluate, run.recipe.folder))
    for row in rows(run.recipe):
        add_row(run, "test", row)


def read_by_tasks(run: Run) -> Content:
    """The files that tasks read, for a job that reads them."""
    paths = task_files(run.recipe.evaluate, run.recipe.folder)
    return Content(
        {f"evaluate.{key}": sha256_known(path) or sha256_file(path) for key, path in paths.items()},
        files={f"evaluate.{key}": Place(path=str(path)) for key, path in paths.items()},
    )


def task_files(settings: EvaluateSettings, folder: str) -> dict[str, Path]:
    """The paths of the files that tasks read, by ``TASK.SETTING``; raises CorpusError if one is missing."""
    found = {}
    for key, path in settings.reads.items():
        place = find(path, folder, kind="datasets").path
        if place is None or not place.is_file():
            raise CorpusError(f"There is no file {path}", where=f"evaluate.{key}", do="correct the path")
        found[key] = place
    return found


def add_row(run: Run, part: Part, row: Row) -> None:
    """Plan the evaluation of one model; a sweep's choice is looked up when the job runs."""
    dtype = run.resolved.dtype("evaluate.dtype")
    evaluate = run.recipe.evaluate.model_copy(update={"dtype": dtype})
    evaluate = evaluate if part == "test" else evaluate.only()
    content = read_by_tasks(run) if part == "test" else Content()
    needs: tuple[str, ...] = (CORPUS,)
    weights: tuple[float, ...] = ()
    measured = template_of(row)
    opening = run.recipe.models[row.base].capture.opening if row.kind in TEACHERS - {"pivot"} else PLAIN
    other = trained_in(run, row)
    tasks = evaluate.tasks if other is None else (*evaluate.tasks, *ALWAYS)
    if row.kind in PUBLISHED:
        content |= run.model(row.base)
    elif row.kind == "adapted":
        content |= run.teacher(row.base)
        needs = (*needs, run.adapted[row.base])
    elif row.weight == BEST:
        weights = run.recipe.distill.label_weights
        own = evaluated(part, row.model_copy(update={"weight": weights[0]}))
        needs = (*needs, SELECTION, own, *(row.maker(weight) for weight in weights))
    else:
        needs = (*needs, row.maker(row.weight))
    run.add(
        "evaluate",
        f"{part}/{row.name}",
        Settings(
            part=part,
            row=row,
            evaluate=evaluate,
            label_weights=weights,
            opening=opening,
            trained_in=other,
        ),
        needs=needs,
        reads={CORPUS: files_of(part, measured)},
        content=run.follows(measured) | content,
        cost=evaluation_cost(
            run.recipe, run.refs[measured], part, tasks, task_files(evaluate, run.recipe.folder)
        ),
        memory=capture_memory(run.refs[measured], dtype, opening),
        on_device=True,
        gpus=run.recipe.models[row.base].capture.needs_gpus if row.kind in TEACHERS - {"pivot"} else 1,
    )


def trained_in(run: Run, row: Row) -> Opening | None:
    """How the pivot's weights were loaded while a row's adapter was trained; None if unchanged.

    None for rows that are no adapters, too.
    """
    how = run.recipe.distill.train
    if how == FULL or how.quantization is None or row.kind not in ("sft", "self", "target"):
        return None
    return Opening(quantization=how.quantization)


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """Nothing, since an unfinished evaluation starts over."""
    return ""


def template_of(row: Row) -> str:
    """The model whose tokens and template a row uses; targets and merges use the pivot's."""
    return row.base if row.kind in TEACHERS else "pivot"


def model_of(row: Row, weight: float | None, inputs: Inputs) -> ModelRef:
    """The model of a row."""
    if row.kind in TEACHERS:
        return inputs.model(row.base)
    folder = inputs.folder(row.maker(weight)) / "model"
    return made_of(inputs.model("pivot"), folder, row.name)


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Score one model; if the sweep chose the recipe's own label weight, its scores are copied."""
    row = settings.row
    weight = (
        None
        if row.weight is None
        else float(selected(inputs.folder(SELECTION)).label_weight if row.weight == BEST else row.weight)
    )
    if row.weight == BEST and weight == settings.label_weights[0]:
        own = evaluated(settings.part, row.model_copy(update={"weight": weight}))
        for name in inputs.manifest(own).files:
            shutil.copyfile(verified(inputs.folder(own) / name), out / name)
        return inputs.manifest(own).summary
    corpus, ref = inputs.folder(CORPUS), model_of(row, weight, inputs)
    conversations = read_part(corpus, settings.part)
    rendered = read_tokens(corpus, settings.part, template_of(row))
    opened = subjects(settings.evaluate, conversations, rendered, ref, ctx.runtime, opening=settings.opening)
    files = {key: Path(inputs.file(f"evaluate.{key}").path) for key in settings.evaluate.reads}
    subject = replace(opened(ref), files=files)
    scores = measure(subject, settings.evaluate.tasks, out, row.name)
    summary: Summary = dict(scores.summary(METRICS.values()))
    if settings.trained_in is not None:
        bits = as_trained(
            settings,
            settings.trained_in,
            conversations=conversations,
            rendered=rendered,
            ref=ref,
            runtime=ctx.runtime,
        )
        summary[AS_TRAINED] = round(bits, 6)
    return summary


def as_trained(
    settings: Settings,
    opening: Opening,
    *,
    conversations: list[Conversation],
    rendered: Sequence[Rendered],
    ref: ModelRef,
    runtime: RuntimeSettings,
) -> float:
    """Bits per byte of an adapter on the weights that it was trained on.

    The published adapter is used with the pivot's own weights.
    """
    subject = subjects(settings.evaluate, conversations, rendered, ref, runtime, opening=opening)(ref)
    keep_layout(subject.model)
    return loss(subject, settings.evaluate.task_of(PRIMARY.name), PRIMARY)


def subjects(
    settings: EvaluateSettings,
    conversations: list[Conversation],
    rendered: Sequence[Rendered],
    ref: ModelRef,
    runtime: RuntimeSettings,
    *,
    opening: Opening = PLAIN,
) -> Callable[[ModelRef], Subject]:
    """A function that opens a model to be measured on the conversations.

    These are rendered in the template of ``ref``.
    """
    from fusionchat.models.device import pick_device
    from fusionchat.models.load import load_model

    renderer, device = make_renderer(ref), pick_device(runtime.device)
    dtype = torch_dtype(settings.dtype, device, where="evaluate.dtype")

    def opened(which: ModelRef) -> Subject:
        model = load_model(which, dtype=dtype, device=device, opening=opening)
        return Subject(model, renderer, conversations, rendered, device, runtime.batch_tokens)

    return opened


def validation_score(
    settings: EvaluateSettings, metric: str, corpus: Path, pivot: ModelRef, runtime: RuntimeSettings
) -> Callable[[Path], float]:
    """A function that scores a model folder on the validation part by a metric; less is better.

    Raises:
        CorpusError: No conversation of the validation part can be measured by the metric.
    """
    task, measured = settings.task_of(metric), METRICS[metric]
    conversations = read_part(corpus, "validation")
    require_measurable(task, measured, conversations)
    rendered = read_tokens(corpus, "validation", "pivot")
    opened = subjects(settings, conversations, rendered, pivot, runtime)

    def scored(folder: Path) -> float:
        subject = opened(replace(pivot, name="trial", model=str(folder), revision=None))
        return loss(subject, task, measured)

    return scored
