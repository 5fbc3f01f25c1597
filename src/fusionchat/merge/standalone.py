"""Merging without a recipe: what ``fusionchat merge`` does, but for parsing and printing."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fusionchat.artifacts import Json, canonical, write_text
from fusionchat.console import Advance, ignore
from fusionchat.merge.arrange import Arrangement
from fusionchat.merge.device import place_of
from fusionchat.merge.embeddings import Embeddings
from fusionchat.merge.mergekit_yaml import MergekitJob, load_mergekit
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.base import Method
from fusionchat.merge.plan import Dtype
from fusionchat.merge.planning import MergePlan, plan_merge
from fusionchat.merge.references import LICENCES, find_model, name_targets
from fusionchat.merge.result import MergeReport
from fusionchat.merge.stream import merge_models

CARD = "README.md"


@dataclass(frozen=True)
class Settings:
    """How a merge is run, whatever the method.

    Attributes:
        dtype: What the fused model is stored as; None is what a mergekit file says, else bfloat16.
        shard_bytes: Largest weight file.
        threads: 0 uses all cores.
        device: Where the arithmetic is done: ``cpu``, ``cuda``, ``cuda:N`` or ``xpu``.
        overwrite: Whether a model that is there is replaced.
        hash_inputs: Whether the inputs' SHA-256 are worked out too.
        embeddings: What to do where vocabularies differ; None is what a mergekit file says, else refuse.
        allow_pickle: Whether pickles are read where there are no safetensors.
    """

    dtype: Dtype | None = None
    shard_bytes: int = 5 * 10**9
    threads: int = 0
    device: str = "cpu"
    overwrite: bool = False
    hash_inputs: bool = False
    embeddings: Embeddings | None = None
    allow_pickle: bool = False

    def filled(self, job: MergekitJob | None = None) -> "Settings":
        """With what a mergekit file says, or else the defaults, where nothing is set."""
        dtype = self.dtype or (job and job.dtype) or "bfloat16"
        return replace(self, dtype=dtype, embeddings=self.embeddings or (job and job.embeddings) or "error")


def run_standalone(
    pivot: str,
    targets: Sequence[str] | Mapping[str, str],
    method: MergeMethod,
    out: Path,
    *,
    settings: Settings | None = None,
    arrangement: Arrangement | None = None,
    method_of: Callable[[str], Method] | None = None,
    progress: Advance = ignore,
) -> MergeReport:
    """Merge folders or hub ids into a model folder with its card.

    Raises:
        MergeError: The inputs cannot be found or merged.
        MachineError: The disk is full or not writable.
    """
    settings = (settings or Settings()).filled()
    named = name_targets(targets)
    base = find_model(pivot, allow_pickle=settings.allow_pickle)
    folders = {name: find_model(ref, allow_pickle=settings.allow_pickle) for name, ref in named.items()}
    report = merge_models(
        base,
        folders,
        method,
        out,
        **asdict(settings),
        arrangement=arrangement,
        method_of=method_of,
        progress=progress,
    )
    write_text(out / CARD, model_card(report, pivot, named, base, folders))
    return report


def plan_standalone(
    pivot: str,
    targets: Sequence[str] | Mapping[str, str],
    method: MergeMethod,
    *,
    settings: Settings | None = None,
    arrangement: Arrangement | None = None,
) -> MergePlan:
    """What `run_standalone` would do (``--dry-run``)."""
    given = asdict((settings or Settings()).filled())
    place_of(given["device"])  # which must be there
    return plan_merge(
        find_model(pivot),
        {name: find_model(reference) for name, reference in name_targets(targets).items()},
        method,
        arrangement=arrangement,
        **{key: given[key] for key in ("dtype", "shard_bytes", "threads", "embeddings")},
    )


def plan_mergekit(config: Path, *, settings: Settings | None = None) -> MergePlan:
    """What `run_mergekit` would do (``--dry-run``)."""
    job = load_mergekit(config)
    settings = (settings or Settings()).filled(job)
    return plan_standalone(job.pivot, job.targets, job.method, settings=settings, arrangement=job.arrangement)


def run_mergekit(
    config: Path, out: Path, *, settings: Settings | None = None, progress: Advance = ignore
) -> MergeReport:
    """Run a mergekit configuration file.

    Raises:
        RecipeError: The file has a key or method that is not supported.
        MergeError: The inputs cannot be found or merged.
    """
    job = load_mergekit(config)
    settings = (settings or Settings()).filled(job)
    report = run_standalone(
        job.pivot,
        job.targets,
        job.method,
        out,
        settings=settings,
        arrangement=job.arrangement,
        method_of=job.method_of(find_model(job.pivot)),
        progress=progress,
    )
    if job.tokenizer_source is not None:
        _take_tokenizer(find_model(job.tokenizer_source), out)
    return report


def _take_tokenizer(folder: Path, out: Path) -> None:
    from fusionchat.merge.surroundings import TOKENIZER

    for name in TOKENIZER:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)


def model_card(
    report: MergeReport, pivot: str, named: Mapping[str, str], base: Path, folders: Mapping[str, Path]
) -> str:
    """A model card: what was merged, how, with which weights, and under which licences the inputs are."""
    settings: dict[str, Json] = report.method
    summary = report.summary()
    weights = summary.get("weights")
    lines = ["---", "library_name: transformers", "tags: [merge, fusionchat]", "---", "", "# Fused model", ""]
    lines += [f"Merged by FusionChat with `{canonical(settings)}`, stored as {report.dtype}.", ""]
    lines += ["| | model | mean weight | licence |", "|---|---|---|---|"]
    lines += [f"| pivot | {pivot} | | {_licence(base)} |"]
    for n, (name, reference) in enumerate(named.items()):
        share = f"{weights[n]:.4f}" if isinstance(weights, list) and isinstance(weights[n], float) else ""
        lines += [f"| {name} | {reference} | {share} | {_licence(folders[name])} |"]
    lines += [
        "",
        "The fused model is bound by the licences of the pivot and of all targets. Weights per tensor, changes,",
    ]
    lines += ["sign conflicts and checksums are in `merge_weights.json`.", ""]
    return "\n".join(lines)


def _licence(folder: Path) -> str:
    """The licence a model's card names, or its licence file; ``unknown`` where there is neither."""
    card = folder / CARD
    if card.is_file():
        for line in card.read_text(encoding="utf-8", errors="replace").splitlines()[:60]:
            key, found, value = line.partition(":")
            if found and key.strip() in ("license", "license_name") and value.strip():
                return value.strip().strip("\"'")
    return next((f"see its {name}" for name in LICENCES if (folder / name).is_file()), "unknown")
