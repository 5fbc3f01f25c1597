"""Stage `report`: gather the figures of all jobs, write the report, and fill in the model card."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from fusionchat.artifacts import Json, Manifest, write_text
from fusionchat.console import say, table
from fusionchat.damage import verified_folder
from fusionchat.distill.metrics import METRICS as STEPS
from fusionchat.distill.metrics import read_metrics
from fusionchat.distill.seeds import nth
from fusionchat.distill.trainable import FULL
from fusionchat.evaluate.measure import comparable, remarks
from fusionchat.evaluate.scores import Scores, read_scores
from fusionchat.evaluate.tasks import METRICS, PRIMARY
from fusionchat.models.card import README
from fusionchat.models.quantization import describe
from fusionchat.recipe.schema import Recipe
from fusionchat.report.figures import (
    StageTime,
)
from fusionchat.report.heatmap import merge_words, merged_tensors
from fusionchat.report.model import Report
from fusionchat.report.rows import Trained, make_rows
from fusionchat.report.timeline import spans_of
from fusionchat.report.trainings import course
from fusionchat.run.job import Content, Context, Cost, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.settings import Frozen
from fusionchat.stages.evaluate import AS_TRAINED
from fusionchat.stages.fused_model import KeptRecipe, recipe_yaml
from fusionchat.stages.names import (
    BEST,
    CORPUS,
    FUSED,
    PUBLISHED,
    REPORT,
    SEARCH,
    SELECTION,
    TEACHERS,
    Row,
    distilled,
    evaluated,
)
from fusionchat.stages.report_figures import (
    make_captured,
    make_choice,
    make_entries,
    make_files,
    make_pair,
    make_rejects,
    make_sweep,
    make_trials,
    make_weights,
    merge_report,
)
from fusionchat.stages.report_notes import answers_note, fusion_note
from fusionchat.stages.select_label_weight import selected
from fusionchat.stages.variants import later_trainings, main_merge, rows, targets, trainings
from fusionchat.units import weight_text

VERSION = 7  # raised when the same settings and inputs give another output


class Settings(Frozen):
    """The settings of a report.

    Attributes:
        recipe: The whole recipe except how the work is done.
    """

    recipe: KeptRecipe


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan the report, which reads every job."""
    content = Content(
        {"rejects": run.jobs[CORPUS].fingerprint}
    )  # not among the files that later jobs depend on
    for name in run.refs:
        content |= run.follows(name)
    run.add(
        "report",
        "report",
        Settings(recipe=run.recipe),
        needs=tuple(run.jobs),
        content=content,
        cost=Cost(0.0, 0.0),
    )


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """Nothing, since an unfinished report starts over."""
    return ""


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Write the report, and the model card of the fused model."""
    from fusionchat.report.fused_card import model_card
    from fusionchat.report.write import write_report

    report = gather(settings.recipe, inputs)
    write_report(report, out)
    card = model_card(report, settings.recipe, inputs.job.models)
    write_text(inputs.folder(FUSED) / "model" / README, card)
    fused = report.row(report.fused)
    assert fused is not None
    values: Summary = {name: round(found.value.overall.value, 6) for name, found in fused.results.items()}
    return {"fused": report.fused, **values}


def show(run: Run) -> None:
    """Print tables, headline and notes of a finished run, after checking its fused model and report."""
    from fusionchat.report.advice import advice
    from fusionchat.report.headline import headline
    from fusionchat.report.terminal import CONTINUED, paragraph, terminal_tables

    for job in (FUSED, REPORT):
        verified_folder(run.path(job))

    report = gather(run.recipe, run.inputs(run.jobs[REPORT]))
    for part in terminal_tables(report):
        title, columns, rows, caption, marked, strong, left = part
        if not title.endswith(CONTINUED):
            say()
        table(title, columns, rows, caption=caption, marked=marked, strong=strong, left=left)
    said = advice(report)
    advised = [f"Advice: {said[0].text}", *(one.text for one in said[1:])] if said else []
    for text in (headline(report), *advised, *report.notes):
        say(f"\n{paragraph(text)}")


def gather(recipe: Recipe, inputs: Inputs) -> Report:
    """All figures of a finished run."""
    models, notes = evaluations(recipe, inputs)
    items = models[0].runs[0].items
    metrics = tuple(metric for name, metric in METRICS.items() if name in items)
    named = {model.kind: model.label for model in models}
    weight = selected(inputs.folder(SELECTION)).label_weight
    own = (
        Row(kind="merge", base="search")
        if recipe.search
        else Row(kind="merge", base=main_merge(recipe), weight=weight, round=recipe.rounds.n)
    )
    shown = title(inputs, own)
    return Report(
        name=recipe.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        metrics=metrics,
        rows=make_rows(models, shown, metrics),
        baseline=named.get("sft", ""),
        soup=named.get("soup", ""),
        sft_seeds=recipe.sft_seeds,
        seeds=recipe.distill.seeds,
        fused=shown,
        label_weight=weight,
        merge=merge_words(merge_report(inputs)),
        domains=tuple(sorted({domain for found in items.values() for domain in found.domains if domain})),
        captures=tuple(make_captured(inputs, name, recipe.represent.k) for name in recipe.models),
        pairs=tuple(make_pair(inputs, name) for name in recipe.sources),
        choices=tuple(
            make_choice(recipe, inputs, target, names) for target, names in targets(recipe).items()
        ),
        entries=make_entries(inputs),
        rejects=make_rejects(inputs),
        weights=make_weights(inputs, weight),
        tensors=merged_tensors(merge_report(inputs)),
        tensor_targets=tuple(recipe.sources),
        merge_files=make_files(inputs),
        sweep=make_sweep(recipe, inputs),
        trials=make_trials(recipe, inputs),
        trial_metric=METRICS[recipe.search.metric] if recipe.search else None,
        trainings=tuple(
            course(str(one.trained), lines)
            for one in trainings(recipe)
            if (lines := read_metrics(inputs.folder(distilled(one.trained)) / STEPS))
        ),
        stages=tuple(StageTime(*j.partition("/")[::2], m.seconds) for j, m in manifests(inputs)),
        spans=tuple(span for job, manifest in manifests(inputs) for span in spans_of(job, manifest.made)),
        recipe=recipe_yaml(recipe),
        versions=inputs.manifest(CORPUS).versions,
        notes=(
            *notes,
            *remarks({model.label: model.runs for model in models}),
            *(note for target in targets(recipe) if (note := fusion_note(inputs, target))),
            *([note] if (note := as_trained_note(recipe, inputs)) else []),
            *(answers_note(inputs, one.trained) for one in later_trainings(recipe)),
        ),
    )


def as_trained_note(recipe: Recipe, inputs: Inputs) -> str:
    """How adapters score on the quantized weights that they were trained on; "" if there were none."""
    if recipe.distill.train == FULL or recipe.distill.train.quantization is None:
        return ""
    found = []
    for row in rows(recipe):
        summary = inputs.manifest(evaluated("test", row)).summary
        if AS_TRAINED in summary and not _repeats(recipe, inputs, row):
            own, then = (float(str(summary[key])) for key in (PRIMARY.name, AS_TRAINED))
            found.append(f"{nth(title(inputs, row), row.number)} {then:.4f} instead of {own:.4f}")
    return (
        f"Adapters were trained on the pivot in 4 bits ({describe(recipe.distill.train.quantization)}) and are measured, merged "
        f"and published with its own weights. Bits per byte on the weights that they were trained on: {'; '.join(found)}."
    )


def manifests(inputs: Inputs) -> list[tuple[str, Manifest]]:
    """Every finished job except the report, with its manifest."""
    return [(job, inputs.manifest(job)) for job in inputs.job.needs]


def evaluations(recipe: Recipe, inputs: Inputs) -> tuple[list[Trained], tuple[str, ...]]:
    """Every model's comparable scores, in the order of the table, and what was left out.

    Models that differ only in their seeds count as one.
    """
    shown = {nth(title(inputs, m), m.number): m for m in rows(recipe) if not _repeats(recipe, inputs, m)}
    shared, notes = comparable(
        {
            name: read_scores(verified_folder(inputs.folder(evaluated("test", model))))
            for name, model in shown.items()
        }
    )
    groups: dict[str, list[tuple[Row, Scores]]] = {}
    for model, scores in zip(shown.values(), shared, strict=True):
        groups.setdefault(title(inputs, model), []).append((model, scores))
    models = []
    for name, group in groups.items():
        first, found = group[0][0], tuple(scores for _, scores in group)
        chosen = "label weight chosen on validation" if first.weight == BEST else ""
        models.append(Trained(name, first.kind, found, chosen))
    return models, notes


def _repeats(recipe: Recipe, inputs: Inputs, model: Row) -> bool:
    """Whether the sweep's choice is the recipe's own label weight, whose rows are in the table already."""
    return (
        model.weight == BEST
        and selected(inputs.folder(SELECTION)).label_weight == recipe.distill.label_weight
    )


def title(inputs: Inputs, model: Row) -> str:
    """The title of a row without its seed: ``varm, λ 0.9``; the sweep's choice has its value."""
    if model.kind in TEACHERS:
        return model.base if model.kind in PUBLISHED else f"{model.base}, adapted"
    if model.kind in ("sft", "soup"):
        return "SFT" if model.kind == "sft" else "SFT soup"
    if model.weight is None:
        return f"search: {inputs.manifest(SEARCH).summary['best']}"
    weight = selected(inputs.folder(SELECTION)).label_weight if model.weight == BEST else model.weight
    names = {"self": "self-distillation", "target": f"target {model.base}"}
    own = f"{names.get(model.kind, model.base)}, λ {weight_text(weight)}"
    return own if model.round == 1 else f"{own}, round {model.round}"
