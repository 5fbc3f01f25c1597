"""Stage `merge`: the targets of each label weight and seed become one model; the best on validation is the fused model.

Only the first seed's merges are chosen among and published. Those of other seeds, and the soup of the SFT models, are
made to be compared with.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import yaml

from fusionchat.artifacts import Json, canonical, read_json, write_json, write_text
from fusionchat.console import Advance, ignore, progress, warn
from fusionchat.corpus.stage import JOB as CORPUS
from fusionchat.damage import verified, verified_folder
from fusionchat.distill.seeds import FIRST, nth
from fusionchat.distill.stage import SFT, label, weight_text
from fusionchat.distill.stage import job_id as distill_job
from fusionchat.estimate import merge_cost
from fusionchat.jobs import Cost, Run, Summary
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.references import fetch
from fusionchat.models import folder_identity
from fusionchat.recipe import Recipe
from fusionchat.tokenizer_files import copy_tokenizer
from fusionchat.units import counted

VERSION = 2  # raised when the same settings and inputs give another output
SELECTION = "merge/selection"
SEARCH = "merge/search"
FUSED = "merge/fused"
SOUP = "sft#soup"  # no other name holds a '#' but that of a seed
CARD = "README.md"


def job_id(name: str) -> str:
    """The job of a merge, by its `label`: ``varm@0.9``."""
    return f"merge/{name}"


def merges(run: Run) -> dict[str, MergeMethod]:
    """The recipe's merge first, then those it is compared with, by name; a method met again gets a number."""
    named: dict[str, MergeMethod] = {}
    for method in (run.recipe.merge, *run.recipe.compare.merges):
        name, number = method.method, 2
        while name in named:
            name, number = f"{method.method}-{number}", number + 1
        named[name] = method
    return named


def main_merge(run: Run) -> str:
    """The name of the recipe's own merge."""
    return next(iter(merges(run)))


def plan(run: Run) -> None:
    """Plan a merge for each label weight and method, the choice among label weights, and the fused model."""
    from fusionchat.evaluate.stage import add_job, entry
    from fusionchat.evaluate.stage import job_id as evaluate_job

    recipe = run.recipe
    weights = recipe.distill.label_weights
    for number in range(1, recipe.distill.seeds + 1):
        for weight in weights:
            for name, method in merges(run).items():
                plan_merge(run, label(name, weight), method, targets_of(run, weight, number), number)
    if recipe.sft_seeds > 1:
        sft = tuple(nth(SFT, number) for number in range(1, recipe.sft_seeds + 1))
        plan_merge(run, SOUP, Linear(), {name: distill_job(name) for name in sft})
    merged = [label(main_merge(run), weight) for weight in weights]
    tried = merged if recipe.distill.sweep else []
    for weight in weights if tried else ():
        add_job(run, "validation", entry("merge", main_merge(run), weight))
    run.add(
        "merge",
        "selection",
        lambda folder: select(run, folder),
        settings={"label_weights": list(weights)},
        needs=tuple(evaluate_job("validation", name) for name in tried),
        cost=Cost(0.0, 0.0),
    )
    if recipe.search is not None:
        plan_search(run)
    run.add(
        "merge",
        "fused",
        lambda folder: finish(run, folder),
        settings=kept_recipe(recipe),
        needs=(SELECTION, *((SEARCH,) if recipe.search else map(job_id, merged))),
        cost=Cost(0.0, 0.0),
        rewritten=(CARD,),
    )


def targets_of(run: Run, weight: float, number: int = FIRST) -> dict[str, str]:
    """The jobs that train the targets of a label weight and seed, by source."""
    return {source: distill_job(nth(label(source, weight), number)) for source in run.recipe.sources}


def plan_merge(
    run: Run, name: str, method: MergeMethod, targets: Mapping[str, str], number: int = FIRST
) -> None:
    """Plan the merge of the models that some jobs train."""
    run.add(
        "merge",
        nth(name, number),
        lambda folder: work(run, name, method, targets, folder),
        settings={"merge": asdict(method), **merged_as(run, targets)},
        needs=tuple(targets.values()),
        content=content(run, (method,)),
        cost=merge_cost(run.recipe, run.refs["pivot"]),
    )


def plan_search(run: Run) -> None:
    """Plan the search among merges of the first seed's targets, and what it finds for the targets of other seeds."""
    recipe = run.recipe
    weights, cost = recipe.distill.label_weights, merge_cost(recipe, run.refs["pivot"])
    files = content(run, candidates(recipe))

    def targets(number: int) -> tuple[str, ...]:
        found = [targets_of(run, weight, number) for weight in weights]
        return tuple(jobs[source] for source in recipe.sources for jobs in found)

    run.add(
        "merge",
        "search",
        lambda folder: search(run, folder),
        settings=search_settings(run) | merged_as(run, recipe.sources),
        needs=(CORPUS, SELECTION, *targets(FIRST)),
        content=files,
        cost=cost._replace(scratch=cost.disk),
        so_far=lambda folder: trials_so_far(folder / "trials", len(candidates(recipe))),
    )
    for number in range(2, recipe.distill.seeds + 1):
        run.add(
            "merge",
            nth("search", number),
            lambda folder, number=number: merge_found(run, number, folder),  # type: ignore[misc]
            settings=merged_as(run, recipe.sources),
            needs=(SELECTION, SEARCH, *targets(number)),
            content=files,
            cost=cost,
        )


def trials_so_far(folder: Path, total: int) -> str:
    """How far a search is whose trials are in this folder."""
    from fusionchat.merge.search import kept_trials

    return f"{kept_trials(folder)} of {counted(total, 'trial')}"


def merged_as(run: Run, targets: Iterable[str]) -> dict[str, Json]:
    """What changes any merge: how the model is stored, and the order of the targets (and of their weights)."""
    return {"fused": run.recipe.fused.model_dump(), "targets": list(targets)}


def candidates(recipe: Recipe) -> tuple[MergeMethod, ...]:
    """What a search tries, in order: the recipe's own merge first, of equal ones one."""
    from fusionchat.merge.search import default_candidates

    assert recipe.search is not None
    return tuple(dict.fromkeys((recipe.merge, *(recipe.search.candidates or default_candidates()))))


def search_settings(run: Run) -> dict[str, Json]:
    """What changes the outcome of a search: what is tried, for how long, and how a trial is scored."""
    recipe = run.recipe
    assert recipe.search is not None
    settings = recipe.search
    exact = recipe.evaluate.exact_match if settings.metric == "exact_match" else None
    return {
        "search": {
            "candidates": [dict(asdict(method)) for method in candidates(recipe)],
            "metric": settings.metric,
            "minutes": settings.minutes,
        },
        "evaluate": {
            "dtype": run.dtypes.of("evaluate.dtype"),
            "exact_match": exact.model_dump() if exact else None,
        },
    }


def content(run: Run, methods: Iterable[MergeMethod]) -> dict[str, str]:
    """What identifies the files that merges read besides the targets."""
    folders = {folder for method in methods for folder in method.auxiliary()}
    own = run.model("pivot") | run.generation("pivot")
    return {**own, **{folder: folder_identity(Path(folder)) for folder in sorted(folders)}}


def work(run: Run, name: str, method: MergeMethod, targets: Mapping[str, str], folder: Path) -> Summary:
    """Merge the models of some jobs into ``model/``."""
    with progress(f"merge {name}", None, "bytes") as advance:
        merge_into(run, folders(run, targets), method, folder, advance)
    return {}


def merge_found(run: Run, number: int, folder: Path) -> Summary:
    """Merge the targets of another seed by what the search found for the first seed's."""
    best = canonical(read_json(verified(run.path(SEARCH) / "search.json"))["best"])
    method = next(m for m in candidates(run.recipe) if canonical(asdict(m)) == best)
    targets = targets_of(run, selected(run).label_weight, number)
    return work(run, nth("search", number), method, targets, folder)


def merge_into(
    run: Run, targets: Mapping[str, Path], method: MergeMethod, folder: Path, advance: Advance = ignore
) -> None:
    """Merge models into ``model/`` of a job's folder, with the pivot's tokenizer."""
    from fusionchat.merge.stream import merge_models

    recipe, pivot = run.recipe, run.refs["pivot"]
    merge_models(
        local_folder(pivot.model, pivot.revision),
        targets,
        method,
        folder / "model",
        dtype=recipe.fused.dtype,
        shard_bytes=int(recipe.fused.shard_gb * 1e9),
        threads=recipe.runtime.threads,
        device=recipe.runtime.merge_device,
        overwrite=True,
        embeddings="rows",
        allow_pickle=True,  # transformers has opened the pivot's, in the same way
        progress=advance,
    )
    copy_tokenizer(pivot, folder / "model")


def folders(run: Run, targets: Mapping[str, str]) -> dict[str, Path]:
    """Where the models of some jobs are, each as it was written."""
    return {name: verified_folder(run.path(job) / "model") for name, job in targets.items()}


def search(run: Run, folder: Path) -> Summary:
    """Try merges of the chosen label weight's targets on the validation part; the best is made into ``model/``."""
    from fusionchat.evaluate.stage import validation_score
    from fusionchat.merge.search import describe
    from fusionchat.merge.search import search as try_merges

    recipe, settings = run.recipe, run.recipe.search
    assert settings is not None
    pivot = local_folder(run.refs["pivot"].model, run.refs["pivot"].revision)
    targets = folders(run, targets_of(run, selected(run).label_weight))
    tried = candidates(recipe)
    with progress("search merges", len(tried), "merges") as advance:
        found = try_merges(
            pivot,
            targets,
            tried,
            validation_score(run, settings.metric),
            folder / "trials",
            budget_s=None if settings.minutes is None else 60 * settings.minutes,
            dtype=recipe.fused.dtype,
            threads=recipe.runtime.threads,
            device=recipe.runtime.merge_device,
            embeddings="rows",
            allow_pickle=True,
            progress=advance,
        )
    merge_into(run, targets, found.best, folder)
    trials: list[Json] = [
        {"label": describe(m), "score": t.score, "seconds": round(t.seconds, 3), "reason": t.reason}
        for m, t in zip(found.made, found.trials, strict=True)
    ]
    write_json(folder / "search.json", found.to_json())
    for method, trial in zip(found.made, found.trials, strict=True):
        if trial.score is None:
            warn(f"the search could not try {describe(method)}: {trial.reason}")
    counts: Summary = {"skipped": len(found.skipped), "failed": found.failed}
    return {"metric": settings.metric, "best": describe(found.best), "trials": trials, **counts}


def local_folder(model: str, revision: str | None) -> Path:
    """The folder of a model; a hub id is looked up in the local cache or downloaded."""
    if not Path(model).is_dir():
        return fetch(model, revision, allow_pickle=True)
    return verified_folder(Path(model))  # it may be of another run


def rehearse_pivot(run: Run) -> list[str]:
    """Notes on the pivot before the first capture; raises MergeError where no merge could be made."""
    from fusionchat.merge.rehearsal import rehearse

    pivot = run.refs["pivot"]
    return rehearse(local_folder(pivot.model, pivot.revision))


class Selection(NamedTuple):
    """The label weight that was best on validation, and the bits per byte of each that was tried."""

    label_weight: float
    trials: dict[str, float]


def select(run: Run, folder: Path) -> Summary:
    """Take the label weight whose merge has the least bits per byte on the validation part; ties to the first."""
    from fusionchat.evaluate.stage import load_scores

    weights = run.recipe.distill.label_weights
    trials: dict[str, float] = {}
    if run.recipe.distill.sweep:
        for weight in weights:
            scores = load_scores(run, "validation", label(main_merge(run), weight))
            trials[weight_text(weight)] = float(scores.bits.sum() / scores.sizes.sum())
    best = min(weights, key=lambda weight: trials.get(weight_text(weight), 0.0))
    write_json(folder / "selection.json", {"label_weight": best, "trials": trials})
    return {"label_weight": best, "trials": {k: round(v, 6) for k, v in trials.items()}}


def selected(run: Run) -> Selection:
    """What a finished selection chose."""
    raw = json.loads(verified(run.path(SELECTION) / "selection.json").read_text())
    return Selection(float(raw["label_weight"]), {k: float(v) for k, v in raw["trials"].items()})


def finish(run: Run, folder: Path) -> Summary:
    """Put the chosen merge into ``merge/fused/model`` (hard links where they can be), with recipe and card."""
    weight = selected(run).label_weight
    chosen = run.path(SEARCH if run.recipe.search else job_id(label(main_merge(run), weight))) / "model"
    # Weights first: a link changes their inode, and the merge's report of their checksums has to be younger than they are.
    files = [p for p in verified_folder(chosen).rglob("*") if p.is_file()]
    for source in sorted(files, key=lambda p: (p.suffix != ".safetensors", p)):
        target = folder / "model" / source.relative_to(chosen)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if source.suffix == ".safetensors":
            _link(source, target)
        else:
            shutil.copyfile(source, target)
    write_text(folder / "model" / "fusionchat_recipe.yaml", recipe_yaml(run.recipe))
    return {"label_weight": weight}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def kept_recipe(recipe: Recipe) -> dict[str, Json]:
    """The recipe as it is kept beside a model and in the report: defaults included, without ``runtime``."""
    value: dict[str, Json] = json.loads(recipe.model_dump_json(exclude={"runtime", "output"}))
    return value


def recipe_yaml(recipe: Recipe) -> str:
    """The kept recipe as YAML."""
    return yaml.safe_dump(kept_recipe(recipe), sort_keys=False, allow_unicode=True)
