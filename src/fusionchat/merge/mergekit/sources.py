"""The models and slices of mergekit's files."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fusionchat.errors import RecipeError
from fusionchat.merge.mergekit.rules import Rule, Value, only_keys, rules_of


class Source(NamedTuple):
    """A model of a merge; ``over`` is the model an adapter was written with (``over+model``)."""

    model: str
    over: str | None
    span: tuple[int, int] | None
    rules: dict[str, Rule]


class Slice(NamedTuple):
    """Models whose layers are merged with each other."""

    sources: list[Source]
    rules: dict[str, Rule]

    @property
    def models(self) -> list[str]:
        """The models, in order."""
        return [source.model for source in self.sources]

    @property
    def layers(self) -> int:
        """How many layers it has; 0 where it is of whole models."""
        span = self.sources[0].span
        return span[1] - span[0] if span else 0


def slices_of(top: Mapping[str, Value]) -> list[Slice]:
    """A file's slices; a file with ``models`` has one, of whole models. Raises RecipeError where one cannot be read."""
    models, slices = top.get("models"), top.get("slices")
    if (models is None) == (slices is None):
        raise RecipeError("A file has either models or slices", where="models", do="give one of the two")
    if models is not None:
        entries = _list(models, "models")
        return [
            _once(
                Slice([_source(entry, f"models[{n}]", False) for n, entry in enumerate(entries)], {}),
                "models",
            )
        ]
    made = []
    for n, entry in enumerate(_list(slices, "slices")):
        where = f"slices[{n}]"
        if not isinstance(entry, dict):
            raise RecipeError("A slice must be a mapping", where=where, do="give `sources`")
        only_keys(entry, {"sources", "parameters"}, where)
        parts = _list(entry.get("sources"), f"{where}.sources")
        sources = [_source(part, f"{where}.sources[{i}]", True) for i, part in enumerate(parts)]
        if len({s.span[1] - s.span[0] for s in sources if s.span}) != 1:
            raise RecipeError(
                "The sources of a slice have different numbers of layers", where=where, do="make them equal"
            )
        part = Slice(sources, rules_of(entry.get("parameters"), f"{where}.parameters"))
        made.append(_once(part, f"{where}.sources"))
    return made


def _once(part: Slice, where: str) -> Slice:
    """A slice; raises RecipeError where it names a model twice, as only one of its two settings could be used."""
    twice = [name for n, name in enumerate(part.models) if name in part.models[:n]]
    if twice:
        raise RecipeError(
            f"{twice[0]} is named twice",
            where=where,
            do="name it once, with the weight of both (or use two slices)",
        )
    return part


def _list(value: Value, where: str) -> list[Value]:
    if not isinstance(value, list) or not value:
        raise RecipeError("This must be a list with at least one entry", where=where, do="give one")
    return value


def _source(entry: Value, where: str, sliced: bool) -> Source:
    if isinstance(entry, str):
        raise RecipeError("This entry is a plain string", where=where, do=f"write it as `model: {entry}`")
    if not isinstance(entry, dict):
        raise RecipeError("An entry must be a mapping", where=where, do="give `model`")
    only_keys(entry, {"model", "parameters"} | ({"layer_range"} if sliced else set()), where)
    model, over = reference_of(entry.get("model"), f"{where}.model"), None
    if "+" in model and not Path(model).exists():
        over, _, model = model.partition("+")
        if not over or not model or "+" in model:
            raise RecipeError(
                "A model with an adapter is MODEL+ADAPTER", where=f"{where}.model", do="name one of each"
            )
    span = None
    if sliced:
        span = _span(entry.get("layer_range"), f"{where}.layer_range")
    return Source(model, over, span, rules_of(entry.get("parameters"), f"{where}.parameters"))


def reference_of(value: Value, where: str) -> str:
    """A model as `references` takes it, from any of mergekit's ways: plain, or as it writes itself, in mappings.

    ``{model: {path: a, revision: r}, lora: {path: b}}`` is ``a@r+b``.

    Raises:
        RecipeError: It is none of them.
    """
    if isinstance(value, str):
        return value
    wrong = RecipeError("A model must be a folder or a hub id", where=where, do="write it as a plain string")
    if not isinstance(value, dict):
        raise wrong
    if "path" in value:
        only_keys(value, {"path", "revision"}, where)
        path, revision = value["path"], value.get("revision")
        if not isinstance(path, str) or not isinstance(revision, str | None):
            raise wrong
        return f"{path}@{revision}" if revision else path
    only_keys(value, {"model", "lora"}, where)
    if value.get("model") is None:
        raise wrong
    parts = [reference_of(value[key], f"{where}.{key}") for key in ("model", "lora") if value.get(key)]
    return "+".join(parts)


def _span(value: Value, where: str) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2:
        first, end = value
        if isinstance(first, int) and isinstance(end, int) and 0 <= first < end:
            return first, end
    raise RecipeError("A layer range must be [first, end]", where=where, do="give two whole numbers")
