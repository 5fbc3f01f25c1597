"""Search among merges of the same targets, each merged and scored.

It tries methods, granularities, powers and scales. The inputs' inner products are computed once and used by
every trial; a mixing method then needs one more read, and a trial's model is deleted after it was scored.
Finished trials are saved, so an interrupted search continues where it stopped. A candidate that cannot be
merged or scored is a failed trial with its reason; it is saved, too, and not tried again.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fusionchat.artifacts import Json, canonical, fingerprint, read_json, write_json
from fusionchat.console import Advance, ignore
from fusionchat.errors import ArtifactError, MergeError, ModelError
from fusionchat.merge.inputs.plan import Dtype
from fusionchat.merge.inputs.vocabulary.embeddings import Embeddings
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.base import Method
from fusionchat.merge.methods.dare import DareLinear
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.sce import Sce
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream.merge import inner_products, merge_models
from fusionchat.units import counted

_TRIALS = "trials.json"


@dataclass(frozen=True)
class Trial:
    """One merge that was tried.

    Attributes:
        method: Its settings.
        score: The result of ``score``; smaller is better (bits per byte). None if the trial failed.
        seconds: Wall time of merging and scoring.
        reason: Why it failed, one line; empty if it did not.
    """

    method: dict[str, Json]
    score: float | None
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class SearchReport:
    """All trials in order.

    Attributes:
        trials: The trials.
        made: Their methods.
        best: Settings of the best one that did not fail; of equal ones the first.
        skipped: Settings that the budget did not allow.
        statistics_seconds: Wall time of the inner products.
    """

    trials: list[Trial]
    made: list[MergeMethod]
    best: MergeMethod
    skipped: list[dict[str, Json]]
    statistics_seconds: float

    @property
    def failed(self) -> int:
        """Number of trials that failed."""
        return sum(trial.score is None for trial in self.trials)

    def to_json(self) -> dict[str, Json]:
        """All of it as plain JSON values."""
        return {
            "trials": [dict(asdict(trial)) for trial in self.trials],
            "best": dict(asdict(self.best)),
            "failed": self.failed,
            "skipped": list(self.skipped),
            "statistics_seconds": self.statistics_seconds,
        }


def default_candidates() -> tuple[MergeMethod, ...]:
    """Merges worth trying on any targets, the most promising first.

    These are VaRM and its variants, averages, sums, and pruned sums.
    """
    granularities = ("layer", "module", "model", "element")
    return (
        Varm(),
        Linear(),
        *(Varm(power=power) for power in (0.5, 2.0)),
        *(Varm(granularity=g) for g in granularities),  # type: ignore[arg-type]
        *(TaskArithmetic(scale=scale, normalize=True) for scale in (0.7, 1.3)),
        *(TaskArithmetic(scale=scale) for scale in (0.3, 0.5, 0.7, 1.0)),
        *(Sce(select_topk=share) for share in (0.1, 0.5)),
        *(Ties(density=density) for density in (0.2, 0.5)),
        DareLinear(density=0.5, scale=0.5),
    )


def search(
    pivot: Path,
    targets: Mapping[str, Path],
    candidates: Sequence[MergeMethod],
    score: Callable[[Path], float],
    work: Path,
    *,
    budget_s: float | None = None,
    dtype: Dtype = "bfloat16",
    threads: int = 0,
    embeddings: Embeddings = "error",
    allow_pickle: bool = False,
    progress: Advance = ignore,
) -> SearchReport:
    """Merge and score candidates in order; returns a report on all of them.

    Args:
        pivot: The pivot's folder.
        targets: Folders of the targets by name.
        candidates: Methods to try; settings that occur twice are tried once.
        score: Returns a model folder's score, smaller is better (bits per byte of held-out text, for
            example). If it raises ModelError or returns no finite number, the trial failed.
        work: Folder for one trial's model and the finished trials' scores.
        budget_s: Wall time after which no trial is begun, nor one that would end later at the mean time of
            those before it; but trials go on until one did not fail.
        dtype: The dtype of the trials' files.
        threads: 0 uses all cores.
        embeddings: What to do if vocabularies differ.
        allow_pickle: Whether weights that are pickles are read, as in `merge_models`.
        progress: Called with 1 after each candidate.

    Raises:
        MergeError: There are no candidates, the targets cannot be merged by any method, or all trials failed.
    """
    if not candidates:
        raise MergeError("There are no merges to try", do="list at least one merge method")
    started = time.perf_counter()
    statistics = inner_products(
        pivot, targets, threads=threads, embeddings=embeddings, allow_pickle=allow_pickle
    )
    statistics_seconds = time.perf_counter() - started
    models = {name: _stamp(path) for name, path in {"pivot": pivot, **targets}.items()}
    mark = fingerprint({"dtype": dtype, "embeddings": embeddings, "targets": list(targets)}, models)
    known = _known(work, mark)

    def merge(method: MergeMethod, model: Path) -> None:
        merge_models(
            pivot, targets, method, model,
            dtype=dtype, threads=threads, embeddings=embeddings, allow_pickle=allow_pickle,
            statistics=statistics,
        )  # fmt: skip

    trials: list[Trial] = []
    skipped: list[dict[str, Json]] = []
    made: list[MergeMethod] = []
    spent: list[float] = []
    for method in dict.fromkeys(candidates):
        key = canonical(asdict(method))
        if key not in known and budget_s is not None and any(trial.score is not None for trial in trials):
            elapsed = time.perf_counter() - started
            if elapsed + (sum(spent) / len(spent) if spent else 0.0) > budget_s:
                skipped.append(dict(asdict(method)))
                progress(1)
                continue
        if key not in known:
            begun = time.perf_counter()
            outcome = _attempt(partial(merge, method), score, work / "model")
            seconds = time.perf_counter() - begun
            if outcome.score is not None:
                spent.append(seconds)
            known[key] = Trial(dict(asdict(method)), outcome.score, seconds, outcome.reason)
            _keep(work, mark, known)
        trials.append(known[key])
        made.append(method)
        progress(1)
    scored = [(trial.score, n) for n, trial in enumerate(trials) if trial.score is not None]
    if not scored:
        raise MergeError(
            f"None of {counted(len(trials), 'merge')} could be made and scored. The first: {trials[0].reason}",
            where=describe(made[0]),
            do="list other candidates",
        )
    return SearchReport(trials, made, made[min(scored)[1]], skipped, statistics_seconds)


class _Outcome(NamedTuple):
    score: float | None
    reason: str = ""


def _attempt(merge: Callable[[Path], object], score: Callable[[Path], float], model: Path) -> _Outcome:
    """Merge and score one candidate.

    An error of the candidate alone is its outcome; the machine's errors are raised.
    """
    shutil.rmtree(model, ignore_errors=True)
    try:
        merge(model)
        value = float(score(model))
    except (MergeError, ModelError) as error:
        return _Outcome(None, error.what)
    finally:
        shutil.rmtree(model, ignore_errors=True)
    return _Outcome(value) if math.isfinite(value) else _Outcome(None, f"its score is {value}")


def _stamp(folder: Path) -> str:
    """A model's path, and the sizes and times of its files."""
    stats = [(path, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    held: list[Json] = [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return fingerprint({"files": held}, {"folder": str(folder.absolute())})


def _known(work: Path, mark: str) -> dict[str, Trial]:
    path = work / _TRIALS
    if not path.is_file():
        return {}
    held = read_json(path)
    trials = held.get("trials")
    if held.get("mark") != mark or not isinstance(trials, dict):
        return {}
    return {key: Trial(**trial) for key, trial in trials.items() if isinstance(trial, dict)}  # type: ignore[arg-type]


def kept_trials(work: Path) -> int:
    """The number of trials that an unfinished search has made."""
    try:
        trials = read_json(work / _TRIALS).get("trials") if (work / _TRIALS).is_file() else None
    except ArtifactError:
        return 0
    return len(trials) if isinstance(trials, dict) else 0


def _keep(work: Path, mark: str, trials: Mapping[str, Trial]) -> None:
    write_json(
        work / _TRIALS, {"mark": mark, "trials": {key: asdict(trial) for key, trial in trials.items()}}
    )


def describe(method: Method) -> str:
    """A method in a few words, for tables: its name and the settings that differ from its defaults."""
    default = asdict(type(method)(method.method))
    changed = [f"{key}={value}" for key, value in asdict(method).items() if value != default[key]]
    return " ".join([method.method, *changed])
