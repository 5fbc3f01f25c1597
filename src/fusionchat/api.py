"""What ``from fusionchat import ...`` gives: the whole as functions, and the pieces for a loop of one's own."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionchat.align.projection.project import align as project
from fusionchat.align.settings import AlignSettings
from fusionchat.errors import FusionChatError
from fusionchat.fuse.fuse import fuse
from fusionchat.merge.methods import MergeMethod
from fusionchat.recipe.schema import Recipe, load_recipe, merge_method
from fusionchat.represent.topk import TopK
from fusionchat.stages.check import check
from fusionchat.stages.pipeline import plan, run
from fusionchat.tokens.table import TokenTable

if TYPE_CHECKING:
    from fusionchat.distill.loss import soft_cross_entropy
    from fusionchat.distill.student import Student
    from fusionchat.merge.stream.result import MergeReport

__all__ = [
    "AlignSettings",
    "FusionChatError",
    "Recipe",
    "Student",
    "TokenTable",
    "TopK",
    "check",
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
