"""What a YAML file is: a mergekit configuration, or another kind that only looks like one."""

from collections.abc import Mapping
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.errors import RecipeError
from fusionchat.yaml import parse_mergekit

_RECIPE = {"pivot", "sources", "corpus"}
_OTHERS: tuple[tuple[set[str], str, str], ...] = (
    ({"experts", "gate_mode"}, "a mergekit-moe configuration", "make the mixture with mergekit-moe"),
    ({"genome"}, "a mergekit-evolve configuration", "name `search` in the file that `fusionchat init` writes"),
    ({"merges"}, "a list of merges", "put each merge into a file of its own"),
    ({"base_model", "datasets"}, "an axolotl training configuration", ""),
    ({"base_model", "sequence_len"}, "an axolotl training configuration", ""),
    ({"base_model", "micro_batch_size"}, "an axolotl training configuration", ""),
    ({"base_model", "adapter"}, "an axolotl training configuration", ""),
    ({"model_name_or_path"}, "a training configuration (of LLaMA-Factory, TRL or alike)", ""),
    ({"zero_optimization"}, "a DeepSpeed configuration", ""),
    ({"distributed_type"}, "an accelerate configuration", ""),
    ({"architectures", "model_type"}, "a model's config.json", "name the model's folder with --pivot or --target"),
    ({"peft_type"}, "an adapter's adapter_config.json", "name the adapter's folder with --target"),
)  # fmt: skip
"""Keys of other tools' files, what such a file is, and what to do with it."""
_INSTEAD = "use one mergekit configuration, or what `fusionchat init` writes"
_EACH = "put each into a file of its own and merge them one after the other, with --out's folder as the next one's model"


def is_mergekit(path: Path) -> bool:
    """Whether a file is one mergekit configuration: it has one of its keys, and no recipe's ``pivot``."""
    documents = _documents(path)
    return documents is not None and len(documents) == 1 and _looks_like_mergekit(documents[0])


def foreign(path: Path) -> RecipeError | None:
    """The error for a file that is neither a recipe nor one mergekit configuration, saying what it is.

    None for a recipe, and for a file that is not YAML, which the recipe's own reader reports.
    """
    documents = _documents(path)
    if documents is None:
        return None
    found = _said(documents)
    if found is None:
        return None
    what, do = found
    return RecipeError(f"This file is {what}", where=str(path), do=do or _INSTEAD)


def _said(documents: list[Json]) -> tuple[str, str] | None:
    """What other kind of file these documents are, and what to do with it."""
    top = documents[0] if documents else None
    if len(documents) > 1:
        found = sum(map(_looks_like_mergekit, documents))
        kind = "mergekit configurations, as mergekit-multi takes them" if found else "YAML documents"
        return f"{len(documents)} {kind}", _EACH if found else ""
    if isinstance(top, list):
        merges = sum(map(_looks_like_mergekit, top))
        kind = "mergekit configurations" if merges else "entries"
        return f"a list of {len(top)} {kind}", _EACH if merges else ""
    if not isinstance(top, dict):
        return ("empty" if top is None else f"a plain {type(top).__name__}"), ""
    other = _other(top)
    if other is not None or _RECIPE & top.keys() or _looks_like_mergekit(top):
        return other
    keys = ", ".join(map(str, list(top)[:4]))
    return f"neither FusionChat's nor mergekit's: its keys are {keys}" if keys else "empty", ""


def _other(top: Mapping[str, Json]) -> tuple[str, str] | None:
    """The other tool whose file a mapping is; None if it may be a recipe or mergekit's."""
    if _RECIPE & top.keys() or "merge_method" in top:
        return None
    for keys, what, do in _OTHERS:
        if keys <= top.keys():
            return what, do
    if len(top) > 1 and all(map(_looks_like_mergekit, top.values())):
        return f"{len(top)} mergekit configurations by name", _EACH
    return None


def _looks_like_mergekit(top: Json) -> bool:
    if not isinstance(top, dict) or _other(top) is not None:
        return False
    certain = bool({"merge_method", "slices"} & top.keys())
    return certain or ("pivot" not in top and bool({"models", "base_model"} & top.keys()))


def _documents(path: Path) -> list[Json] | None:
    """A file's YAML documents; None if it cannot be read."""
    try:
        return parse_mergekit(path.read_text(encoding="utf-8"), name=str(path))
    except (OSError, UnicodeDecodeError, RecipeError):
        return None


def read_mergekit(path: Path) -> dict[str, Json]:
    """A mergekit configuration's settings; raises RecipeError if the file is something else."""
    try:
        documents = parse_mergekit(path.read_text(encoding="utf-8"), name=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"This file cannot be read: {error}", where=str(path), do="correct it") from error
    found = _said(documents)
    if found is not None:
        raise RecipeError(
            f"This is not a mergekit configuration: it is {found[0]}",
            where=str(path),
            do=found[1] or "give one",
        )
    top = documents[0]
    assert isinstance(top, dict)
    if "merge_method" not in top:
        raise RecipeError(
            f"This is not a mergekit configuration: it has {', '.join(map(str, top))}, but no merge_method",
            where="merge_method",
            do="add it, or use --pivot, --target and --method",
        )
    return top
