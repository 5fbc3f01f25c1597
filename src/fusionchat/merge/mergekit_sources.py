"""The models and slices of mergekit's files."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fusionchat.errors import RecipeError
from fusionchat.merge.mergekit_rules import Rule, Value, only_keys, rules_of


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
        return [Slice([_source(entry, f"models[{n}]", False) for n, entry in enumerate(entries)], {})]
    made = []
    for n, entry in enumerate(_list(slices, "slices")):
        where = f"slices[{n}]"
        if not isinstance(entry, dict):
            raise RecipeError("A slice is a mapping", where=where, do="give `sources`")
        only_keys(entry, {"sources", "parameters"}, where)
        parts = _list(entry.get("sources"), f"{where}.sources")
        sources = [_source(part, f"{where}.sources[{i}]", True) for i, part in enumerate(parts)]
        if len({s.span[1] - s.span[0] for s in sources if s.span}) != 1:
            raise RecipeError(
                "The sources of a slice have different numbers of layers", where=where, do="make them equal"
            )
        made.append(Slice(sources, rules_of(entry.get("parameters"), f"{where}.parameters")))
    return made


def _list(value: Value, where: str) -> list[Value]:
    if not isinstance(value, list) or not value:
        raise RecipeError("This must be a list with at least one entry", where=where, do="give one")
    return value


def _source(entry: Value, where: str, sliced: bool) -> Source:
    if isinstance(entry, str):
        raise RecipeError("This entry is a plain string", where=where, do=f"write it as `model: {entry}`")
    if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
        raise RecipeError(
            "A model is a folder or a hub id", where=f"{where}.model", do="write it as a plain string"
        )
    only_keys(entry, {"model", "parameters"} | ({"layer_range"} if sliced else set()), where)
    model, over = str(entry["model"]), None
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


def _span(value: Value, where: str) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2:
        first, end = value
        if isinstance(first, int) and isinstance(end, int) and 0 <= first < end:
            return first, end
    raise RecipeError("A layer range is [first, end]", where=where, do="give two whole numbers")
