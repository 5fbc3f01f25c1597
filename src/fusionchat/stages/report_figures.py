"""The figures of a finished run's jobs, for the report."""

from collections.abc import Mapping
from typing import cast

from fusionchat.artifacts import Json, read_json
from fusionchat.corpus.parts import PARTS
from fusionchat.damage import verified, verified_folder
from fusionchat.evaluate.scores import read_scores
from fusionchat.evaluate.tasks import METRICS, PRIMARY
from fusionchat.merge.stream.result import REPORT as MERGE_REPORT
from fusionchat.merge.stream.result import MergeReport
from fusionchat.recipe.schema import Recipe
from fusionchat.report.figures import (
    Captured,
    Choice,
    CorpusEntry,
    MergeFile,
    MergeTrial,
    MergeWeights,
    Pair,
    Reject,
    SweepPoint,
)
from fusionchat.report.heatmap import merge_files, merge_weights
from fusionchat.represent.probe import Probe
from fusionchat.run.job import Inputs
from fusionchat.stages.corpus import read_counts
from fusionchat.stages.names import (
    CORPUS,
    FUSED,
    SEARCH,
    SELECTION,
    Row,
    aligned,
    captured,
    evaluated,
    fused,
)
from fusionchat.stages.select_label_weight import selected
from fusionchat.stages.variants import main_merge
from fusionchat.units import weight_text


def make_captured(inputs: Inputs, model: str, k: int) -> Captured:
    """What captured a model, and how peaked its distributions are, from its job's summary."""
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
    """How many conversations each entry of the corpus contributed."""
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
    """Rejected records by reason, keys that nothing reads, and how templates change other records."""
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
    """The report that the fused model's merge wrote beside it."""
    return MergeReport.from_json(read_json(verified(inputs.folder(FUSED) / "model" / MERGE_REPORT)))
