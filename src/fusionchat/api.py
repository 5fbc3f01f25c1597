"""The public names of ``fusionchat``: the pipeline as functions, and its pieces for custom loops."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fusionchat import console
from fusionchat.align.projection.project import project
from fusionchat.align.settings import AlignSettings
from fusionchat.corpus.conversation import Reject
from fusionchat.corpus.cut import fit
from fusionchat.corpus.entries import open_thoughts
from fusionchat.corpus.parts import count_rejects
from fusionchat.corpus.read import read_corpus
from fusionchat.corpus.rendered_part import join
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.errors import CorpusError, FusionChatError
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.evaluate.statistics import Estimate
from fusionchat.evaluate.tasks import METRICS
from fusionchat.fuse.fuse import fuse
from fusionchat.merge.methods import MergeMethod
from fusionchat.models.adapter import ref_of
from fusionchat.models.precision import dtype_here
from fusionchat.models.ref import locate
from fusionchat.recipe.schema import Recipe, load_recipe, merge_method
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.topk import Scored, TopK
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages.check import check
from fusionchat.stages.pipeline import plan, run
from fusionchat.tokens.table import TokenTable

if TYPE_CHECKING:
    from fusionchat.distill.loss import soft_cross_entropy
    from fusionchat.distill.student import Student
    from fusionchat.merge.stream.result import MergeReport

__all__ = [
    "AlignSettings",
    "DistributionStore",
    "FusionChatError",
    "Recipe",
    "Scored",
    "Student",
    "SupervisedTokens",
    "TokenTable",
    "TopK",
    "check",
    "evaluate",
    "fuse",
    "load_recipe",
    "merge",
    "plan",
    "project",
    "run",
    "soft_cross_entropy",
]

_LATE = {"Student": "fusionchat.distill.student", "soft_cross_entropy": "fusionchat.distill.loss"}
"""Names whose files import torch, so that ``from fusionchat import Recipe`` does not."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)


class Evaluation(NamedTuple):
    """The measurements of a model.

    Attributes:
        metrics: The estimate of each metric, with its standard error.
        rejects: How many conversations the model's template cannot render, by reason; the others were
            measured.
    """

    metrics: Mapping[str, Estimate]
    rejects: Mapping[str, int]


def evaluate(
    model: str | Path,
    corpus: str | Path,
    *,
    settings: Mapping[str, object] | None = None,
    max_tokens: int = 2048,
    device: str = "auto",
) -> Evaluation:
    """Measure a model on a corpus: bits per byte of its answers, and what ``settings`` add.

    Args:
        model: Folder or hub id.
        corpus: A file, or a hub data set, as `corpus.test` of a recipe.
        settings: As `evaluate:` of a recipe, for instance ``{"exact_match": {"answer_pattern": "(\\d+)"}}``.
        max_tokens: Longer conversations are cut.
        device: As `runtime.device` of a recipe.

    Raises:
        FusionChatError: The model or the corpus cannot be read, or no conversation can be measured.
    """
    from fusionchat.evaluate.measure import together
    from fusionchat.stages.corpus import make_renderer
    from fusionchat.stages.evaluate import subjects, task_files

    asked = EvaluateSettings(**dict(settings or {}))  # type: ignore[arg-type]
    if asked.dtype == "auto":
        asked = asked.model_copy(update={"dtype": dtype_here(device)})
    place = locate(str(model), ".", where="model")
    ref = ref_of("model", place)
    read = open_thoughts(read_corpus(str(corpus)))
    renderer = make_renderer(ref)
    fitted = [fit(one, [(renderer, max_tokens)]) for one in read.conversations]
    kept = [one.conversation for one in fitted if not isinstance(one, Reject)]
    rejects = count_rejects([*read.rejects, *(one for one in fitted if isinstance(one, Reject))])
    if not kept:
        raise CorpusError(f"No conversation can be measured: {dict(rejects)}", where=str(corpus))
    rendered = join([one for c in kept if not isinstance(one := renderer.render(c), Reject)])
    files = task_files(asked, ".")
    asked.refuse(files)
    subject = replace(subjects(asked, kept, rendered, ref, RuntimeSettings(device=device))(ref), files=files)
    scores = together(subject, [task.measure(subject, console.progress) for task in asked.tasks])
    return Evaluation({name: scores.estimate(METRICS[name]) for name in scores.items}, dict(rejects))


def merge(
    pivot: str | Path,
    targets: Mapping[str, str | Path],
    method: str | MergeMethod,
    out: str | Path,
    *,
    settings: Sequence[str] = (),
    **options: object,
) -> "MergeReport":
    """Merge targets into one model folder; the same as `fusionchat.merge.stream.merge.merge_models`.

    Args:
        pivot: Folder of the pivot.
        targets: Folders of the targets (models or LoRA adapters) by name, in the order of the method's weights.
        method: The method's name, or its settings.
        out: Folder of the fused model.
        settings: ``key=value`` settings of a method that is given by name.
        options: As for `merge_models`: dtype, threads, embeddings ...

    Raises:
        MergeError: The inputs cannot be merged.
        RecipeError: There is no such method or setting.
    """
    from fusionchat.merge.stream.merge import merge_models

    made = merge_method(method, tuple(settings)) if isinstance(method, str) else method
    folders = {name: Path(folder) for name, folder in targets.items()}
    return merge_models(Path(pivot), folders, made, Path(out), **options)  # type: ignore[arg-type]
