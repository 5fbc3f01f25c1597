"""Merging without a recipe: ``fusionchat merge`` without parsing and printing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fusionchat.artifacts import Json, canonical, write_text
from fusionchat.console import Advance, ignore, warn
from fusionchat.damage import verified_folder
from fusionchat.errors import MergeError
from fusionchat.hub import find
from fusionchat.merge.inputs.layers.arrange import Arrangement
from fusionchat.merge.inputs.layers.stack import Depth
from fusionchat.merge.inputs.plan import Dtype
from fusionchat.merge.inputs.references import find_model, name_targets
from fusionchat.merge.inputs.vocabulary.chat_templates import set_template
from fusionchat.merge.inputs.vocabulary.embeddings import Embeddings
from fusionchat.merge.inputs.vocabulary.files import read_vocabulary
from fusionchat.merge.inputs.vocabulary.vocabularies import check_new_tokens
from fusionchat.merge.mergekit.config import MergekitJob, load_mergekit
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.base import Method
from fusionchat.merge.stream.merge import merge_models
from fusionchat.merge.stream.planning import MergePlan, plan_merge
from fusionchat.merge.stream.result import MergeReport
from fusionchat.merge.stream.surroundings import carried, copy_files
from fusionchat.models.card import README, card
from fusionchat.models.files import LICENCES, TOKENIZER, left_out, matching

CONFIG = "mergekit_config.yml"
"""The mergekit file that a model was made from, in its folder."""


@dataclass(frozen=True)
class Settings:
    """How a merge is run, whatever the method.

    Attributes:
        dtype: The dtype of the fused model's files; None is what a mergekit file says, else bfloat16.
        shard_bytes: Largest weight file.
        threads: 0 uses all cores.
        overwrite: Whether an existing model is replaced.
        hash_inputs: Whether the inputs' SHA-256 are computed too.
        embeddings: What to do if vocabularies differ; None is what a mergekit file says, else refuse.
        allow_pickle: Whether pickles are read if there are no safetensors.
    """

    dtype: Dtype | None = None
    shard_bytes: int = 5 * 10**9
    threads: int = 0
    overwrite: bool = False
    hash_inputs: bool = False
    embeddings: Embeddings | None = None
    allow_pickle: bool = False

    def filled(self, job: MergekitJob | None = None) -> "Settings":
        """The settings with unset ones from a mergekit file, or else at their defaults."""
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
    method_of: Callable[[str, Depth], Method] | None = None,
    config: Path | None = None,
    progress: Advance = ignore,
) -> MergeReport:
    """Merge folders or hub ids into a model folder with its card, which quotes the file ``config``.

    Raises:
        MergeError: The inputs cannot be found or merged.
        MachineError: The disk is full or not writable.
    """
    settings = (settings or Settings()).filled()
    named = name_targets(targets)
    base = find_model(pivot, allow_pickle=settings.allow_pickle)
    folders = {name: find_model(ref, allow_pickle=settings.allow_pickle) for name, ref in named.items()}
    for folder in (base, *folders.values()):
        verified_folder(folder)  # for a run's own models
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
    others = left_out(base, carried(base))
    if others:
        warn(f"not copied from the pivot's folder: {', '.join(others)}")
    words = config.read_text(encoding="utf-8") if config else None
    if words is None:
        (out / CONFIG).unlink(missing_ok=True)
    else:
        write_text(out / CONFIG, words)
    write_text(out / README, model_card(report, pivot, named, base, folders, config=words))
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
    pickles = given["allow_pickle"]
    return plan_merge(
        find_model(pivot, allow_pickle=pickles),
        {name: find_model(ref, allow_pickle=pickles) for name, ref in name_targets(targets).items()},
        method,
        arrangement=arrangement,
        **{key: given[key] for key in ("dtype", "shard_bytes", "threads", "embeddings", "allow_pickle")},
    )


def plan_mergekit(config: Path, *, settings: Settings | None = None) -> MergePlan:
    """What `run_mergekit` would do (``--dry-run``)."""
    job = load_mergekit(config)
    _check_tokenizer(job)
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
    _check_tokenizer(job)
    settings = (settings or Settings()).filled(job)
    report = run_standalone(
        job.pivot,
        job.targets,
        job.method,
        out,
        settings=settings,
        arrangement=job.arrangement,
        method_of=job.method_of,
        config=config,
        progress=progress,
    )
    if job.tokenizer_source is not None:
        _take_tokenizer(find_model(job.tokenizer_source), out)
    if job.chat_template is not None:
        set_template(out, job.chat_template, [find_model(one) for one in (job.pivot, *job.targets.values())])
    return report


def _check_tokenizer(job: MergekitJob) -> None:
    """Raise MergeError if the named tokenizer has tokens in other rows, or none."""
    source = job.tokenizer_source
    if source is None:
        return
    pivot = find_model(job.pivot)
    ours, theirs = (read_vocabulary(place) for place in (pivot, find_model(source)))
    if ours is None or theirs is None:
        raise MergeError(
            f"The tokenizer cannot be compared with the pivot's: {job.pivot if ours is None else source} has none",
            where="tokenizer_source",
            do="save both with tokenizer.json, or remove it",
        )
    for text, row in theirs.ids.items():
        if ours.ids.get(text, row) != row:
            raise MergeError(
                f"Token {text!r} is row {row} in {source}, but row {ours.ids[text]} in the pivot",
                where="tokenizer_source",
                do="use union or base",
            )
    check_new_tokens(source, theirs, ours, pivot)


def _take_tokenizer(folder: Path, out: Path) -> None:
    for name in matching(out, TOKENIZER):
        (out / name).unlink()
    copy_files(folder, out, matching(folder, TOKENIZER))


def model_card(
    report: MergeReport,
    pivot: str,
    named: Mapping[str, str],
    base: Path,
    folders: Mapping[str, Path],
    *,
    config: str | None = None,
) -> str:
    """A model card: what was merged, how, with which weights, and the licences of the inputs.

    Its front matter names the inputs that have hub ids; ``config`` is the mergekit file that it quotes.
    """
    settings: dict[str, Json] = report.method
    summary = report.summary()
    weights = summary.get("weights")
    hub = [ref.partition("@")[0] for ref in (pivot, *named.values()) if find(ref).path is None]
    lines = ["# Fused model", ""]
    if config is None:
        lines += [f"Merged by FusionChat with `{canonical(settings)}`, stored as {report.dtype}.", ""]
    else:
        lines += [f"Merged by FusionChat from this mergekit configuration, stored as {report.dtype}:", ""]
        lines += ["````yaml", config.rstrip("\n"), "````", ""]
    lines += [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'place = "."  # this folder, or its hub id',
        "model, tokenizer = AutoModelForCausalLM.from_pretrained(place), AutoTokenizer.from_pretrained(place)",
        "```",
        "",
    ]
    column, rule = (" mean weight |", "---|") if isinstance(weights, list) else ("", "")
    lines += [f"| | model |{column} licence |", f"|---|---|{rule}---|"]
    lines += [f"| pivot | {pivot} |{column and ' |'} {_licence(base)} |"]
    for n, (name, reference) in enumerate(named.items()):
        share = f" {weights[n]:.4f} |" if isinstance(weights, list) else ""
        lines += [f"| {name} | {reference} |{share} {_licence(folders[name])} |"]
    lines += ["", "The fused model is bound by the licences of the pivot and of all targets."]
    kinds = "Weights per tensor, changes" if column else "Changes per tensor"
    lines += [f"{kinds}, sign conflicts and checksums are in `merge_weights.json`.", ""]
    return card("\n".join(lines), bases=hub, tags=("merge", "fusionchat"))


def _licence(folder: Path) -> str:
    """The licence that a model's card names, or its licence file; ``unknown`` if there is neither."""
    own = folder / README
    if own.is_file():
        for line in own.read_text(encoding="utf-8", errors="replace").splitlines()[:60]:
            key, found, value = line.partition(":")
            if found and key.strip() in ("license", "license_name") and value.strip():
                return value.strip().strip("\"'")
    return next((f"see its {name}" for name in matching(folder, LICENCES)), "unknown")
