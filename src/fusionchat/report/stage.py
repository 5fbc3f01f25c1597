"""Stage `report`: gather the figures of all jobs, write the report, and put the results on the model card."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from fusionchat.align.stage import job_id as align_job
from fusionchat.artifacts import Json, Manifest, read_json, write_text
from fusionchat.console import say, table
from fusionchat.corpus.stage import JOB as CORPUS
from fusionchat.corpus.stage import PARTS, note_counts, reject_counts, unused_counts
from fusionchat.damage import verified, verified_folder
from fusionchat.distill.seeds import nth
from fusionchat.distill.stage import label, weight_text
from fusionchat.evaluate.scores import Scores, amounts, over_common_events
from fusionchat.evaluate.stage import BEST, Entry, entries, entry, load_scores
from fusionchat.evaluate.stage import job_id as evaluate_job
from fusionchat.evaluate.statistics import Estimate, ratio
from fusionchat.fuse.stage import job_id as fuse_job
from fusionchat.fuse.stage import targets
from fusionchat.jobs import Cost, Job, Run, Summary
from fusionchat.merge.stage import CARD, FUSED, SEARCH, kept_recipe, main_merge, recipe_yaml, selected
from fusionchat.report.heatmap import merge_files, merge_weights, merge_words, merged_tensors
from fusionchat.report.model import (
    Choice,
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

VERSION = 2  # raised when the same settings and inputs give another output
JOB = "report/report"


def plan(run: Run) -> None:
    """Plan the report: it needs every evaluation."""
    run.add(
        "report",
        "report",
        lambda folder: work(run, folder),
        settings=kept_recipe(run.recipe),
        needs=(FUSED, *(evaluate_job("test", entry.name) for entry in entries(run))),
        content={"rejects": run.jobs[CORPUS].fingerprint},  # not among what the corpus stands for
        cost=Cost(0.0, 0.0),
    )


def work(run: Run, folder: Path) -> Summary:
    """Write the report, and the model card of the fused model."""
    from fusionchat.report.card import model_card
    from fusionchat.report.write import write_report

    report = gather(run)
    write_report(report, folder)
    write_text(run.path(FUSED) / "model" / CARD, model_card(report, run.recipe))
    fused = report.row(report.fused)
    assert fused is not None and fused.bits_per_byte is not None
    return {"fused": report.fused, "bits_per_byte": round(fused.bits_per_byte.overall.value, 6)}


def show(run: Run) -> None:
    """Print tables, headline and notes of a finished run, whose fused model and report are as they were written."""
    from fusionchat.report.sections import headline
    from fusionchat.report.terminal import paragraph, terminal_tables

    for job in (FUSED, JOB):
        verified_folder(run.path(job))

    report = gather(run)
    for part in terminal_tables(report):
        table(
            part.title, part.columns, part.rows, caption=part.caption, marked=part.marked, strong=part.strong
        )
    for text in (headline(report), *report.notes):
        say(f"\n{paragraph(text)}")


def gather(run: Run) -> Report:
    """All figures of a finished run."""
    recipe = run.recipe
    models, note = evaluated(run)
    named = {model.kind: model.label for model in models}
    weight = selected(run).label_weight
    own = entry("merge", "search") if recipe.search else entry("merge", main_merge(run), weight)
    fused = title(run, own)
    return Report(
        name=recipe.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=make_rows(models, fused),
        baseline=named.get("sft", ""),
        soup=named.get("soup", ""),
        sft_seeds=recipe.sft_seeds,
        seeds=recipe.distill.seeds,
        fused=fused,
        merge=merge_words(merge_report(run)),
        domains=tuple(sorted({d for d in models[0].runs[0].domains if d})),
        pairs=tuple(make_pair(run, name) for name in recipe.sources),
        choices=tuple(make_choice(run, target, names) for target, names in targets(run).items()),
        rejects=make_rejects(run),
        weights=make_weights(run, weight),
        tensors=merged_tensors(merge_report(run)),
        tensor_targets=tuple(recipe.sources),
        merge_files=make_files(run),
        sweep=make_sweep(run),
        trials=make_trials(run),
        trial_metric="bits per byte"
        if recipe.search and recipe.search.metric == "bits_per_byte"
        else "wrong answers",
        stages=tuple(StageTime(j.stage, j.name, m.seconds) for j, m in manifests(run)),
        recipe=recipe_yaml(recipe),
        versions=run.manifest(CORPUS).versions,
        notes=tuple(
            n
            for n in (note, thought_note(models), *(fusion_note(run, target) for target in targets(run)))
            if n
        ),
    )


def thought_note(models: Sequence[Trained]) -> str:
    """Which models' answers ended inside a thought, "" for none."""
    counts = {model.label: sum(one.unfinished for one in model.runs) for model in models}
    said = ", ".join(f"{label} {count}" for label, count in counts.items() if count)
    return f"Answers that ended inside a thought, counted as wrong: {said}." if said else ""


def fusion_note(run: Run, target: str) -> str:
    """What a fusion's models could not be compared over, "" for nothing."""
    summary = cast(Mapping[str, int], run.manifest(fuse_job(target)).summary)
    missing, ends = summary["unscored_bytes"], summary["unscored_ends"]
    if not missing and not ends:
        return ""
    return (
        f"Fusion for target {target} compared its models without {amounts(missing, ends)}, in {summary['bytes']:,} bytes "
        "of answers: not all of them score these."
    )


def manifests(run: Run) -> list[tuple[Job, Manifest]]:
    """Every finished job but the report with its manifest."""
    return [(job, run.manifest(job.id)) for job in run.jobs.values() if job.id != JOB]


def evaluated(run: Run) -> tuple[list[Trained], str]:
    """Every model's scores over the events that all score, in the order of the table, and what was left out.

    Models that differ in their seeds alone are one.
    """
    shown = {nth(title(run, m), m.number): m for m in entries(run) if not _repeats(run, m)}
    shared, note = over_common_events(
        {name: load_scores(run, "test", model.name) for name, model in shown.items()}
    )
    groups: dict[str, list[tuple[Entry, Scores]]] = {}
    for model, scores in zip(shown.values(), shared, strict=True):
        groups.setdefault(title(run, model), []).append((model, scores))
    models = []
    for name, group in groups.items():
        first, found = group[0][0], tuple(scores for _, scores in group)
        chosen = "label weight chosen on validation" if first.weight == BEST else ""
        models.append(Trained(name, first.kind, found, chosen))
    return models, note


def _repeats(run: Run, model: Entry) -> bool:
    """Whether the sweep's choice is the recipe's own label weight, whose rows are in the table already."""
    return model.weight == BEST and selected(run).label_weight == run.recipe.distill.label_weight


def title(run: Run, model: Entry) -> str:
    """What a row is called, whatever the seed: ``varm, λ 0.9``; the sweep's choice by its value."""
    if model.kind in ("pivot", "source"):
        return model.base
    if model.kind in ("sft", "soup"):
        return "SFT" if model.kind == "sft" else "SFT soup"
    if model.weight is None:
        return f"search: {run.manifest(SEARCH).summary['best']}"
    weight = selected(run).label_weight if model.weight == BEST else model.weight
    names = {"self": "self-distillation", "target": f"target {model.base}"}
    return f"{names.get(model.kind, model.base)}, λ {weight_text(weight)}"


def make_pair(run: Run, source: str) -> Pair:
    """How a source was aligned, from its job's summary."""
    manifest = run.manifest(align_job(source))
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


def make_choice(run: Run, target: str, sources: tuple[str, ...]) -> Choice:
    """Which models a target's distributions came from."""
    summary = run.manifest(fuse_job(target)).summary
    models = ("pivot", *sources)
    shares = cast(dict[str, dict[str, float]], summary["shares"])
    rows, fallback = int(str(summary["rows"])), int(str(summary["fallback_rows"]))
    won = {domain or "all": tuple(share[m] for m in models) for domain, share in shares.items()}
    return Choice(target, run.recipe.fuse.method, models, won, fallback / max(rows, 1))


def make_rejects(run: Run) -> tuple[Reject, ...]:
    """Rejected records by reason, keys that nothing reads, and what templates do to the other records."""
    counts = reject_counts(run)
    keys = unused_counts(run)
    parts = cast(dict[str, dict[str, int]], run.manifest(CORPUS).summary)
    total = sum(parts[name]["conversations"] for name in PARTS) + sum(counts.values())
    rejected = tuple(Reject("corpus", reason, count, total) for reason, count in counts.items())
    used = {f"key `{k}` is not read": n for k, n in keys.items()} | note_counts(run)
    return rejected + tuple(Reject("corpus, used", said, n, total) for said, n in used.items())


def make_sweep(run: Run) -> tuple[SweepPoint, ...]:
    """The label weights tried on validation, with standard errors."""
    choice = selected(run)
    points = []
    for text in choice.trials:
        weight = float(text)
        scores = load_scores(run, "validation", label(main_merge(run), weight))
        estimate: Estimate = ratio(scores.bits, scores.sizes)
        points.append(SweepPoint(main_merge(run), weight, estimate, weight == choice.label_weight))
    return tuple(points)


def make_trials(run: Run) -> tuple[MergeTrial, ...]:
    """The merges a search tried, failed ones included."""
    if run.recipe.search is None:
        return ()
    summary = run.manifest(SEARCH).summary
    return tuple(
        MergeTrial(
            label=str(t["label"]),
            score=None if t["score"] is None else float(t["score"]),
            seconds=float(t["seconds"] or 0),
            chosen=t["label"] == summary["best"],
            reason=str(t.get("reason") or ""),
        )
        for t in cast(list[dict[str, float | str | None]], summary["trials"])
    )


def make_weights(run: Run, weight: float) -> tuple[MergeWeights, ...]:
    """The merge's weights by layer and module, where the method gives each tensor weights."""
    raw = merge_report(run)
    method = str(cast(Mapping[str, Json], raw["method"])["method"])
    found = merge_weights(raw, label=f"{method}, λ {weight_text(weight)}", method="")
    return () if found is None else (found,)


def make_files(run: Run) -> tuple[MergeFile, ...]:
    """The weight files that the fused model was merged from, and its own."""
    folder = run.path(FUSED) / "model"
    return merge_files(merge_report(run), {p.name: p.stat().st_size for p in folder.glob("*.safetensors")})


def merge_report(run: Run) -> dict[str, Json]:
    """What the fused model's merge left beside it."""
    return read_json(verified(run.path(FUSED) / "model" / "merge_weights.json"))
