"""The search among merges of the same targets, and its result applied to other seeds' targets."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Literal

from fusionchat.artifacts import Json, canonical, read_json, write_json
from fusionchat.console import progress, warn
from fusionchat.damage import verified
from fusionchat.distill.seeds import FIRST
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.settings import AnyMerge, FusedSettings
from fusionchat.recipe.schema import Recipe
from fusionchat.run.estimate import capture_memory, evaluation_cost, merge_cost
from fusionchat.run.job import Context, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.settings import Frozen, Grown
from fusionchat.stages.corpus import files_of
from fusionchat.stages.evaluate import task_files, validation_score
from fusionchat.stages.merge_targets import merge_into, merged_from, models_in, read_by_merges
from fusionchat.stages.names import CORPUS, SEARCH, SELECTION, Trained
from fusionchat.stages.select_label_weight import selected
from fusionchat.stages.variants import targets_of
from fusionchat.units import counted


class SearchTried(Frozen):
    """What a search has tried, in how many seconds, and how a trial is scored."""

    candidates: tuple[AnyMerge, ...]
    metric: str
    minutes: float | None


class Search(Grown):
    """Everything that changes a search except the models.

    Attributes:
        search: What is tried.
        evaluate: How a trial is scored.
        fused: How the model is stored.
        targets: The sources whose targets are merged, in the order of their weights.
        round: Of these targets.
    """

    later: ClassVar[tuple[str, ...]] = ("round",)
    kind: Literal["search"] = "search"
    search: SearchTried
    evaluate: EvaluateSettings
    fused: FusedSettings
    targets: tuple[str, ...]
    round: int = 1


class Found(Grown):
    """The merge that a search found, of the targets of another seed.

    Attributes:
        number: The number of the seed.
        candidates: What the search tried.
        fused: How the model is stored.
        targets: The sources whose targets are merged, in the order of their weights.
        round: Of these targets.
    """

    later: ClassVar[tuple[str, ...]] = ("round",)
    kind: Literal["found"] = "found"
    number: int
    candidates: tuple[AnyMerge, ...]
    fused: FusedSettings
    targets: tuple[str, ...]
    round: int = 1


def candidates(recipe: Recipe) -> tuple[MergeMethod, ...]:
    """What a search tries, in order: the recipe's own merge first, without duplicates."""
    from fusionchat.merge.search import default_candidates

    assert recipe.search is not None
    return tuple(dict.fromkeys((recipe.merge, *(recipe.search.candidates or default_candidates()))))


def plan_search(run: Run) -> None:
    """Plan the search among merges of the first seed's targets, and its result for the other seeds."""
    recipe = run.recipe
    assert recipe.search is not None
    weights, cost, tried = (
        recipe.distill.label_weights,
        merge_cost(recipe, run.refs["pivot"]),
        candidates(recipe),
    )
    content = read_by_merges(run, tried)
    sources = tuple(recipe.sources)

    def targets(number: int) -> tuple[str, ...]:
        found = [targets_of(sources, weight, number, recipe.rounds.n) for weight in weights]
        return tuple(jobs[source] for source in sources for jobs in found)

    evaluate = recipe.evaluate.only(recipe.evaluate.task_of(recipe.search.metric).name)
    dtype = run.resolved.dtype("evaluate.dtype")
    evaluate = evaluate.model_copy(update={"dtype": dtype})
    task = recipe.evaluate.task_of(recipe.search.metric)
    files = task_files(evaluate, recipe.folder)
    scored = evaluation_cost(recipe, run.refs["pivot"], "validation", (task,), files).flops
    trials = None if scored is None or cost.flops is None else len(tried) * (cost.flops + scored)
    run.add(
        "merge",
        "search",
        Search(
            search=SearchTried(candidates=tried, metric=recipe.search.metric, minutes=recipe.search.minutes),
            evaluate=evaluate,
            fused=recipe.fused,
            targets=sources,
            round=recipe.rounds.n,
        ),
        needs=(CORPUS, SELECTION, *targets(FIRST)),
        reads={CORPUS: files_of("validation", "pivot")},
        content=content,
        cost=cost._replace(scratch=cost.disk, flops=trials),
        memory=capture_memory(run.refs["pivot"], dtype),
        on_device=True,
    )
    for number in range(2, recipe.distill.seeds + 1):
        run.add(
            "merge",
            str(Trained(base="search", number=number)),
            Found(
                number=number,
                candidates=tried,
                fused=recipe.fused,
                targets=sources,
                round=recipe.rounds.n,
            ),
            needs=(SELECTION, SEARCH, *targets(number)),
            content=content,
            cost=cost,
        )


def trials_so_far(folder: Path, total: int) -> str:
    """The progress of the search in a folder."""
    from fusionchat.merge.search import kept_trials

    return f"{kept_trials(folder)} of {counted(total, 'trial')}"


def target_folders(inputs: Inputs, sources: tuple[str, ...], number: int, turn: int) -> dict[str, Path]:
    """The folders of the targets of the chosen label weight, a seed and a round, by source."""
    weight = selected(inputs.folder(SELECTION)).label_weight
    jobs = targets_of(sources, weight, number, turn)
    return models_in({source: inputs.folder(job) for source, job in jobs.items()})


def search(settings: Search, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Try merges of the chosen label weight's targets on validation, and write the best into ``model/``."""
    from fusionchat.merge.search import describe
    from fusionchat.merge.search import search as try_merges

    wanted, pivot, runtime = settings.search, inputs.model("pivot"), ctx.runtime
    targets = target_folders(inputs, settings.targets, FIRST, settings.round)
    with progress("search merges", len(wanted.candidates), "merges") as advance:
        found = try_merges(
            merged_from(pivot.place),
            targets,
            wanted.candidates,
            validation_score(settings.evaluate, wanted.metric, inputs.folder(CORPUS), pivot, runtime),
            out / "trials",
            budget_s=None if wanted.minutes is None else 60 * wanted.minutes,
            dtype=settings.fused.dtype,
            threads=runtime.threads,
            embeddings="rows",
            allow_pickle=True,
            progress=advance,
        )
    merge_into(pivot, targets, found.best, out, fused=settings.fused, runtime=runtime)
    trials: list[Json] = [
        {"label": describe(m), "score": t.score, "seconds": round(t.seconds, 3), "reason": t.reason}
        for m, t in zip(found.made, found.trials, strict=True)
    ]
    write_json(out / "search.json", found.to_json())
    for method, trial in zip(found.made, found.trials, strict=True):
        if trial.score is None:
            warn(f"the search could not try {describe(method)}: {trial.reason}")
    counts: Summary = {"skipped": len(found.skipped), "failed": found.failed}
    return {"metric": wanted.metric, "best": describe(found.best), "trials": trials, **counts}


def merge_found(settings: Found, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Merge the targets of another seed with the method that the search found for the first seed's."""
    best = canonical(read_json(verified(inputs.folder(SEARCH) / "search.json"))["best"])
    method = next(m for m in settings.candidates if canonical(asdict(m)) == best)
    targets = target_folders(inputs, settings.targets, settings.number, settings.round)
    with progress(inputs.job.label, None, "bytes") as advance:
        merge_into(
            inputs.model("pivot"),
            targets,
            method,
            out,
            fused=settings.fused,
            runtime=ctx.runtime,
            advance=advance,
        )
    return {}
