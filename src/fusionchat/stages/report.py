"""Stage `report`: gather the figures of all jobs, write the report, and put the results on the model card."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from fusionchat.artifacts import Json, Manifest, read_json, write_text
from fusionchat.console import say, table
from fusionchat.corpus.parts import PARTS
from fusionchat.damage import verified, verified_folder
from fusionchat.distill.metrics import METRICS as STEPS
from fusionchat.distill.metrics import read_metrics
from fusionchat.distill.seeds import nth
from fusionchat.distill.trainable import FULL
from fusionchat.evaluate.measure import comparable, remarks
from fusionchat.evaluate.scores import Scores, read_scores
from fusionchat.evaluate.tasks import METRICS, PRIMARY
from fusionchat.merge.stream.result import REPORT as MERGE_REPORT
from fusionchat.merge.stream.result import MergeReport
from fusionchat.models.card import README
from fusionchat.models.quantization import describe
from fusionchat.recipe.schema import Recipe
from fusionchat.report.heatmap import merge_files, merge_weights, merge_words, merged_tensors
from fusionchat.report.model import (
    Captured,
    Choice,
    CorpusEntry,
    MergeFile,
    MergeTrial,
    MergeWeights,
    Pair,
    Reject,
    Report,
    StageTime,
    SweepPoint,
)
from fusionchat.report.rows import Trained, make_rows
from fusionchat.report.timeline import spans_of
from fusionchat.report.trainings import course
from fusionchat.represent.probe import Probe
from fusionchat.run.job import Content, Context, Cost, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.settings import Frozen
from fusionchat.stages.corpus import read_counts
from fusionchat.stages.evaluate import AS_TRAINED
from fusionchat.stages.fused_model import KeptRecipe, recipe_yaml
from fusionchat.stages.names import (
    BEST,
    CORPUS,
    FUSED,
    REPORT,
    SEARCH,
    SELECTION,
    Row,
    aligned,
    captured,
    distilled,
    evaluated,
    fused,
)
from fusionchat.stages.report_notes import answers_note, fusion_note
from fusionchat.stages.select_label_weight import selected
from fusionchat.stages.variants import later_trainings, main_merge, rows, targets, trainings
from fusionchat.units import weight_text

VERSION = 6  # raised when the same settings and inputs give another output


class Settings(Frozen):
    """What a report is made for.

    Attributes:
        recipe: All of the recipe but how the work is done.
    """

    recipe: KeptRecipe


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan the report: it reads every job."""
    content = Content({"rejects": run.jobs[CORPUS].fingerprint})  # not among what the corpus stands for
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
    """Nothing: an unfinished report is made anew."""
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
    """Print tables, headline and notes of a finished run, whose fused model and report are as they were written."""
    from fusionchat.report.advice import advice
    from fusionchat.report.sections import headline
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
    """What adapters have beside the quantized weights that they were trained on, "" where none were."""
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
        f"and published with its own weights. Bits per byte on those that they were trained on: {'; '.join(found)}."
    )


def manifests(inputs: Inputs) -> list[tuple[str, Manifest]]:
    """Every finished job but the report with its manifest."""
    return [(job, inputs.manifest(job)) for job in inputs.job.needs]


def evaluations(recipe: Recipe, inputs: Inputs) -> tuple[list[Trained], tuple[str, ...]]:
    """Every model's scores as they may be compared, in the order of the table, and what was left out.

    Models that differ in their seeds alone are one.
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
    """What a row is called, whatever the seed: ``varm, λ 0.9``; the sweep's choice by its value."""
    if model.kind in ("pivot", "source"):
        return model.base
    if model.kind in ("sft", "soup"):
        return "SFT" if model.kind == "sft" else "SFT soup"
    if model.weight is None:
        return f"search: {inputs.manifest(SEARCH).summary['best']}"
    weight = selected(inputs.folder(SELECTION)).label_weight if model.weight == BEST else model.weight
    names = {"self": "self-distillation", "target": f"target {model.base}"}
    own = f"{names.get(model.kind, model.base)}, λ {weight_text(weight)}"
    return own if model.round == 1 else f"{own}, round {model.round}"


def make_captured(inputs: Inputs, model: str, k: int) -> Captured:
    """By what a model was captured, and how peaked it is, from its job's summary."""
    summary = inputs.manifest(captured(model)).summary
    probe = Probe.model_validate(summary["probe"])
    known = cast(Mapping[str, float | None], summary)
    median, p95 = known["k99_median"], known["k99_p95"]
    return Captured(
        label=model,
        backend=f"{summary['backend']} {summary['version']}",
        dtype=str(summary["dtype"]),
        tokens=int(str(summary["supervised_tokens"])),
        bits_per_byte=float(str(summary["bits_per_byte"])),
        differs=None if probe.label is None else (probe.label.mean, probe.label.worst),
        unchecked=probe.unchecked,
        tokens_per_second=known["tokens_per_second"],
        domains=cast(Mapping[str, float], summary["bits_per_byte_by_domain"]),
        k=k,
        mass_kept=known["mass_kept"],
        sampled_rows=int(str(summary["sampled_rows"])),
        entropy=known["entropy"],
        k99_median=None if median is None else int(median),
        k99_p95=None if p95 is None else int(p95),
        halved=int(str(summary["out_of_memory"])),
    )


def make_pair(inputs: Inputs, source: str) -> Pair:
    """How a source was aligned, from its job's summary."""
    manifest = inputs.manifest(aligned(source))
    figures = cast(Mapping[str, float], manifest.summary)
    return Pair(
        label=source,
        rows=int(figures["rows"]),
        exact=float(figures["exact_share"]),
        inside=float(figures["inside_share"]),
        unaligned=float(figures["unaligned_share"]),
        mass_kept=float(figures["kept_mass"]),
        retention=float(figures["retention"]),
        map_retention=float(figures["map_retention"]),
        seconds=manifest.seconds,
        method=str(manifest.summary["method"]),
    )


def make_choice(recipe: Recipe, inputs: Inputs, target: str, sources: tuple[str, ...]) -> Choice:
    """Which models a target's distributions came from."""
    summary = inputs.manifest(fused(target)).summary
    models = ("pivot", *sources)
    shares = cast(dict[str, dict[str, float]], summary["shares"])
    rows, fallback = int(str(summary["rows"])), int(str(summary["fallback_rows"]))
    won = {domain or "all": tuple(share[m] for m in models) for domain, share in shares.items()}
    return Choice(target, recipe.fuse.method, models, won, fallback / max(rows, 1))


def make_entries(inputs: Inputs) -> tuple[CorpusEntry, ...]:
    """What each entry of the corpus gave."""
    held = cast(list[dict[str, Json]], inputs.manifest(CORPUS).summary["entries"])
    return tuple(
        CorpusEntry(
            label=f"{one['place']} {one['name']}",
            records=int(str(one["records"])),
            used=int(str(one["used"])),
            rejected=int(str(one["rejected"])),
            left=cast(Mapping[str, int | None], one["left"]),
        )
        for one in held
    )


def make_rejects(inputs: Inputs) -> tuple[Reject, ...]:
    """Rejected records by reason, keys that nothing reads, and what templates do to the other records."""
    counts = read_counts(inputs.folder(CORPUS), "rejects")
    keys = read_counts(inputs.folder(CORPUS), "unused")
    parts = cast(dict[str, dict[str, int]], inputs.manifest(CORPUS).summary)
    total = sum(parts[name]["conversations"] for name in PARTS) + sum(counts.values())
    rejected = tuple(Reject("corpus", reason, count, total) for reason, count in counts.items())
    used = {f"key `{k}` is not read": n for k, n in keys.items()} | read_counts(
        inputs.folder(CORPUS), "notes"
    )
    return rejected + tuple(Reject("corpus, used", said, n, total) for said, n in used.items())


def make_sweep(recipe: Recipe, inputs: Inputs) -> tuple[SweepPoint, ...]:
    """The label weights tried on validation, with standard errors."""
    choice = selected(inputs.folder(SELECTION))
    points = []
    for text in choice.trials:
        weight = float(text)
        scores = read_scores(
            verified_folder(
                inputs.folder(
                    evaluated(
                        "validation",
                        Row(kind="merge", base=main_merge(recipe), weight=weight, round=recipe.rounds.n),
                    )
                )
            )
        )
        estimate = scores.estimate(PRIMARY)
        points.append(SweepPoint(main_merge(recipe), weight, estimate, weight == choice.label_weight))
    return tuple(points)


def make_trials(recipe: Recipe, inputs: Inputs) -> tuple[MergeTrial, ...]:
    """The merges a search tried, failed ones included."""
    if recipe.search is None:
        return ()
    summary, metric = inputs.manifest(SEARCH).summary, METRICS[recipe.search.metric]
    return tuple(
        MergeTrial(
            label=str(t["label"]),
            value=None if t["score"] is None else metric.loss(float(t["score"])),
            seconds=float(t["seconds"] or 0),
            chosen=t["label"] == summary["best"],
            reason=str(t.get("reason") or ""),
        )
        for t in cast(list[dict[str, float | str | None]], summary["trials"])
    )


def make_weights(inputs: Inputs, weight: float) -> tuple[MergeWeights, ...]:
    """The merge's weights by layer and module, where the method gives each tensor weights."""
    merge = merge_report(inputs)
    method = merge.settings.method
    found = merge_weights(merge, label=f"{method}, λ {weight_text(weight)}", method="")
    return () if found is None else (found,)


def make_files(inputs: Inputs) -> tuple[MergeFile, ...]:
    """The weight files that the fused model was merged from, and its own."""
    folder = inputs.folder(FUSED) / "model"
    return merge_files(merge_report(inputs), {p.name: p.stat().st_size for p in folder.glob("*.safetensors")})


def merge_report(inputs: Inputs) -> MergeReport:
    """What the fused model's merge left beside it."""
    return MergeReport.from_json(read_json(verified(inputs.folder(FUSED) / "model" / MERGE_REPORT)))
