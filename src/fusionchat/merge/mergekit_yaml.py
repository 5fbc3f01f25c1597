"""mergekit's configuration files, read for the methods FusionChat has. What is not supported is an error, by its place.

Differences that follow from the methods (docs/merge_methods.md lists them all): DARE and DELLA divide by the chance
itself, ``sce`` has no absolute epsilon, ``int8_mask`` has no effect (it only saves mergekit memory), and passthrough
takes everything outside the layers from the base model (or the first slice's model).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from fusionchat.errors import RecipeError
from fusionchat.merge.arrange import Arrangement
from fusionchat.merge.checkpoint import open_checkpoint
from fusionchat.merge.embeddings import Embeddings
from fusionchat.merge.mergekit_kinds import KINDS, WHOLE, Kind, Setting
from fusionchat.merge.mergekit_rules import Rule, Value, only_keys, rules_of
from fusionchat.merge.methods import METHODS, MergeMethod
from fusionchat.merge.methods.base import Method
from fusionchat.merge.plan import Dtype
from fusionchat.merge.references import name_targets
from fusionchat.merge.weights import layer_of

_TOP = {
    "merge_method",
    "models",
    "slices",
    "base_model",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
}
_DTYPES: dict[str, Dtype] = {"bfloat16": "bfloat16", "float16": "float16", "float32": "float32"}
_FIRST = ("embed", "wte", "wpe")


@dataclass(frozen=True)
class MergekitJob:
    """A mergekit file as a merge.

    Attributes:
        pivot: Reference of the base model, or of the model whose structure the result has.
        targets: References of the targets by name, in order.
        method: The method at the first layer, for the record.
        dtype: What the fused model is stored as; None where the file does not say.
        embeddings: What the file's tokenizer source implies for vocabularies; None where it says nothing.
        tokenizer_source: Reference of another model whose tokenizer the fused model gets.
        arrangement: Layers, where the file has slices.
    """

    pivot: str
    targets: dict[str, str]
    method: MergeMethod
    dtype: Dtype | None
    embeddings: Embeddings | None
    tokenizer_source: str | None
    arrangement: Arrangement | None
    _build: Callable[[str, int, float], MergeMethod]
    _spans: tuple[int, ...]

    def method_of(self, pivot: Path, *, allow_pickle: bool = False) -> Callable[[str], Method]:
        """Settings by tensor name, with gradients laid over the layers (of each slice, where there are slices)."""
        spans = self._spans or (_layers(pivot, allow_pickle),)
        places = [
            (n, i / (span - 1) if span > 1 else 1.0) for n, span in enumerate(spans) for i in range(span)
        ]

        def settings(tensor: str) -> Method:
            layer = layer_of(tensor)
            if layer is not None and layer < len(places):
                return self._build(tensor, *places[layer])
            first = any(part in tensor for part in _FIRST)
            return self._build(tensor, 0 if first else len(spans) - 1, 0.0 if first else 1.0)

        return settings


def _layers(pivot: Path, allow_pickle: bool) -> int:
    checkpoint = open_checkpoint(pivot, allow_pickle=allow_pickle)
    names = list(checkpoint.tensors)
    checkpoint.close()
    return 1 + max((n for name in names if (n := layer_of(name)) is not None), default=0)


class _Source(NamedTuple):
    """A model of a merge; ``over`` is the model an adapter was written with (``over+model``)."""

    model: str
    over: str | None
    span: tuple[int, int] | None
    rules: dict[str, Rule]


class _Slice(NamedTuple):
    sources: list[_Source]
    rules: dict[str, Rule]


def is_mergekit(path: Path) -> bool:
    """Whether a file is a mergekit configuration: it has one of its keys, and no recipe's ``pivot``."""
    try:
        top = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    if not isinstance(top, dict):
        return False
    certain = bool({"merge_method", "slices"} & top.keys())
    return certain or ("pivot" not in top and bool({"models", "base_model"} & top.keys()))


def load_mergekit(path: Path) -> MergekitJob:
    """Read a mergekit configuration.

    Raises:
        RecipeError: It cannot be read, or has a key, method or value that is not supported; the place is named.
    """
    top = _read(path)
    only_keys(top, _TOP, "")
    name = top.get("merge_method")
    if not isinstance(name, str) or name not in KINDS:
        raise RecipeError(
            f"mergekit's method {name!r} is not supported",
            where="merge_method",
            do=f"use one of: {', '.join(sorted(KINDS))}",
        )
    kind = KINDS[name]
    slices = _slices(top)
    shared = rules_of(top.get("parameters"), "parameters")
    base = top.get("base_model")
    if base is not None and not isinstance(base, str):
        raise RecipeError(
            "A model is a folder or a hub id", where="base_model", do="write it as a plain string"
        )
    models = list(dict.fromkeys(source.model for part in slices for source in part.sources))
    if kind.method == "passthrough":
        kind = _passthrough(kind, slices, base)
    pivot, targets = _roles(kind, name, base, slices[0].sources[0].over, models)
    _check_adapters(slices, pivot)
    named = name_targets(targets, split=False)
    ordered = {reference: target for target, reference in named.items()}
    _check_rules(kind, slices, shared)
    build = _builder(kind, slices, shared, list(named.values()), base is not None)
    dtype, embeddings, tokenizer = _outputs(top)
    arrangement = None
    spans: tuple[int, ...] = ()
    if top.get("slices") is not None:
        arrangement = _arrangement(
            slices,
            {**ordered, pivot: "pivot"} if pivot not in targets else ordered,
            pivot,
            targets,
            kind.method in ("linear", "karcher") or (kind.base is None and base is None),
        )
        spans = tuple(span[1] - span[0] for part in slices if (span := part.sources[0].span))
    return MergekitJob(
        pivot, named, build("", 0, 0.0), dtype, embeddings, tokenizer, arrangement,
        build, spans,
    )  # fmt: skip


def _read(path: Path) -> dict[str, Value]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"This file cannot be read: {error}", where=str(path), do="correct it") from error
    if not isinstance(value, dict):
        raise RecipeError("This is no mergekit configuration", where=str(path), do="give a YAML mapping")
    return value


def _slices(top: Mapping[str, Value]) -> list[_Slice]:
    models, slices = top.get("models"), top.get("slices")
    if (models is None) == (slices is None):
        raise RecipeError("A file has either models or slices", where="models", do="give one of the two")
    if models is not None:
        entries = _list(models, "models")
        return [_Slice([_source(entry, f"models[{n}]", False) for n, entry in enumerate(entries)], {})]
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
        made.append(_Slice(sources, rules_of(entry.get("parameters"), f"{where}.parameters")))
    return made


def _list(value: Value, where: str) -> list[Value]:
    if not isinstance(value, list) or not value:
        raise RecipeError("This must be a list with at least one entry", where=where, do="give one")
    return value


def _source(entry: Value, where: str, sliced: bool) -> _Source:
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
    return _Source(model, over, span, rules_of(entry.get("parameters"), f"{where}.parameters"))


def _span(value: Value, where: str) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2:
        first, end = value
        if isinstance(first, int) and isinstance(end, int) and 0 <= first < end:
            return first, end
    raise RecipeError("A layer range is [first, end]", where=where, do="give two whole numbers")


def _check_adapters(slices: list[_Slice], pivot: str) -> None:
    """Raise RecipeError where an adapter is not to be applied to the pivot."""
    for source in (source for part in slices for source in part.sources):
        if source.over not in (None, pivot):
            raise RecipeError(
                f"The adapter {source.model} belongs to {source.over}, but adapters are applied to {pivot}",
                where="models",
                do="name its model as base_model, or merge the adapter into it first (peft's merge_and_unload)",
            )


def _passthrough(kind: Kind, slices: list[_Slice], base: str | None) -> Kind:
    """Passthrough of one whole model, which is ``linear`` of that one, or of slices; raises RecipeError for others."""
    first = slices[0].sources[0]
    if first.span is None:
        if len(slices[0].sources) != 1:
            raise RecipeError(
                "Passthrough takes one model whole, or slices of several",
                where="models",
                do="give one, or slices",
            )
        return WHOLE
    for number, part in enumerate(slices):
        if len(part.sources) != 1:
            raise RecipeError(
                "A slice of passthrough has one source", where=f"slices[{number}].sources", do="give one"
            )
    if first.over is not None and base is None:
        raise RecipeError(
            f"What is outside the layers would be {first.over}'s without the adapter {first.model}",
            where="slices[0].sources[0].model",
            do="name that model as base_model, or merge the adapter into it first (peft's merge_and_unload)",
        )
    return kind


def _roles(
    kind: Kind, name: str, base: str | None, over: str | None, models: list[str]
) -> tuple[str, list[str]]:
    """The pivot and the targets; ``over`` is the model under the first one, where that is an adapter."""
    if base is None and kind.base is not None:
        raise RecipeError(
            f"Method {name} needs a base model", where="base_model", do="name one of the models, or another"
        )
    pivot = base or over or models[0]
    others = [model for model in models if model != base]
    if kind.base is False:
        if len(others) != 1:
            raise RecipeError(
                f"Method {name} needs the base model and one other", where="models", do="give two models"
            )
        return pivot, others
    if kind.base:
        return pivot, others
    if kind.method == "passthrough":
        return pivot, [model for model in models if model != pivot]
    return pivot, models if kind.method in ("linear", "karcher") else others


def _check_rules(kind: Kind, slices: list[_Slice], shared: Mapping[str, Rule]) -> None:
    """Raise RecipeError where a setting is none of the method's."""
    known = {*kind.each, *kind.shared, *kind.ignored}
    levels = [
        shared,
        *(part.rules for part in slices),
        *(source.rules for part in slices for source in part.sources),
    ]
    for level in levels:
        for setting, rule in level.items():
            if setting not in known:
                raise RecipeError(
                    "This setting is unknown or not supported",
                    where=rule.where,
                    do=f"use: {', '.join(sorted(known))}",
                )
            allowed = kind.ignored.get(setting)
            if allowed is not None and rule.at("", 0.0) not in allowed:
                raise RecipeError(
                    f"Only {setting}: {allowed[0]} is supported", where=rule.where, do="remove it"
                )


def _builder(
    kind: Kind, slices: list[_Slice], shared: Mapping[str, Rule], references: list[str], based: bool
) -> Callable[[str, int, float], MergeMethod]:
    """A function that makes the method's settings for a tensor, a slice and a depth."""

    def look(setting: str, levels: list[Mapping[str, Rule]], tensor: str, t: float) -> Setting | None:
        for level in levels:
            value = level[setting].at(tensor, t) if setting in level else None
            if value is not None:
                return value
        return kind.defaults.get(setting)

    def build(tensor: str, number: int, t: float) -> MergeMethod:
        part = slices[number]
        values: dict[str, object] = dict(kind.fixed)
        for theirs, mine in kind.shared.items():
            own = [source.rules for source in part.sources]
            if (value := look(theirs, [*own, part.rules, shared], tensor, t)) is not None:
                values[mine] = int(value) if mine == "max_iter" else value
        for theirs, mine in kind.each.items():
            each = []
            for reference in references:
                own = [source.rules for source in part.sources if source.model == reference]
                each.append(look(theirs, [*own, part.rules, shared], tensor, t))
            if all(value is None for value in each):
                continue
            values[mine] = tuple(1.0 if value is None else float(value) for value in each)
        if kind.method in ("nuslerp", "multislerp"):
            values["origin"] = "pivot" if based else "zero"
        try:
            return METHODS[kind.method](**values)  # type: ignore[arg-type, return-value]
        except ValueError as error:
            raise RecipeError(
                f"The settings cannot be used for tensor {tensor or 'any'}: {error}", where="parameters"
            ) from error

    return build


def _outputs(top: Mapping[str, Value]) -> tuple[Dtype | None, Embeddings | None, str | None]:
    name = top.get("out_dtype") or top.get("dtype")
    if name is not None and (not isinstance(name, str) or name not in _DTYPES):
        raise RecipeError(
            f"The dtype {name!r} is not supported", where="dtype", do=f"use one of: {', '.join(_DTYPES)}"
        )
    source, longer = top.get("tokenizer_source"), top.get("tokenizer")
    if longer is not None:
        if source is not None or not isinstance(longer, dict):
            raise RecipeError(
                "A file has either tokenizer_source or tokenizer: {source}", where="tokenizer", do="give one"
            )
        only_keys(longer, {"source"}, "tokenizer")
        source = longer.get("source", "union")
    if source is not None and not isinstance(source, str):
        raise RecipeError(
            "A tokenizer source is union, base, or a model",
            where="tokenizer_source",
            do="write it as a string",
        )
    dtype = _DTYPES[name] if isinstance(name, str) else None
    if source in (None, "base"):
        return dtype, None if source is None else "pivot", None
    return (dtype, "union", None) if source == "union" else (dtype, None, source)


def _arrangement(
    slices: list[_Slice], names: Mapping[str, str], pivot: str, targets: list[str], unweighed: bool
) -> Arrangement:
    """The fused layers; the pivot's part may be left out of the file where its values are ``unweighed``."""
    layers = []
    order = ["pivot", *(names[target] for target in targets)] if len(slices[0].sources) > 1 else []
    for number, part in enumerate(slices):
        spans = {source.model: source.span for source in part.sources}
        count = next(span[1] - span[0] for span in spans.values() if span)
        for i in range(count):
            here = {names[model]: span[0] + i for model, span in spans.items() if span}
            if order and pivot in targets:
                here["pivot"] = here[names[pivot]]
            elif order and unweighed:
                here.setdefault("pivot", next(iter(here.values())))
            if order and set(here) != set(order):
                raise RecipeError(
                    "Every slice must name the same models",
                    where=f"slices[{number}].sources",
                    do="add the others",
                )
            layers.append(tuple((name, here[name]) for name in order) if order else tuple(here.items()))
    return Arrangement(tuple(layers))
