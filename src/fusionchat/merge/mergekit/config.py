"""mergekit's configuration files, read for the methods that FusionChat has.

Anything unsupported is an error that names its place.

Differences that follow from the methods (docs/merge_methods.md lists them all): DARE and DELLA divide by the
chance itself, ``sce`` has no absolute epsilon, ``int8_mask`` has no effect (it only saves mergekit memory),
and in passthrough everything outside the layers comes from the base model (or the first slice's model).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fusionchat.errors import RecipeError
from fusionchat.merge.inputs.layers.arrange import Arrangement
from fusionchat.merge.inputs.layers.stack import Depth
from fusionchat.merge.inputs.plan import Dtype
from fusionchat.merge.inputs.references import name_targets
from fusionchat.merge.inputs.vocabulary.embeddings import Embeddings
from fusionchat.merge.mergekit.files import read_mergekit
from fusionchat.merge.mergekit.kinds import KINDS, WHOLE, Kind
from fusionchat.merge.mergekit.rules import rules_of
from fusionchat.merge.mergekit.schema import MergekitFile, validated
from fusionchat.merge.mergekit.settings import Build, builder, check_rules, check_slices, targets_of
from fusionchat.merge.mergekit.sources import Slice, slices_of
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.base import Method


@dataclass(frozen=True)
class MergekitJob:
    """A mergekit file as a merge.

    Attributes:
        pivot: Reference of the base model, or of the model whose structure the result has.
        targets: References of the targets by name, in order.
        method: The method at the first layer, for the record.
        dtype: The dtype of the fused model's files; None if the file does not say.
        embeddings: What the file's tokenizer source implies for vocabularies; None if it has none.
        tokenizer_source: Reference of another model whose tokenizer the fused model gets.
        chat_template: The chat template that it gets, or ``auto``; None for the pivot's.
        arrangement: Layers, if the file has slices.
    """

    pivot: str
    targets: dict[str, str]
    method: MergeMethod
    dtype: Dtype | None
    embeddings: Embeddings | None
    tokenizer_source: str | None
    chat_template: str | None
    arrangement: Arrangement | None
    _build: Build
    _spans: tuple[int, ...]

    def method_of(self, tensor: str, depth: Depth) -> Method:
        """Settings of a tensor; gradients run over the layers, or over each slice's layers.

        Tensors before the layers get the first slice's first value, those after them the last slice's last
        value.
        """
        number, place = 0, depth.layer
        if place is None or not self._spans:
            return self._build(tensor, len(self._spans) - 1 if depth.t > 0 and self._spans else 0, depth.t)
        while place >= self._spans[number]:
            place, number = place - self._spans[number], number + 1
        span = self._spans[number]
        return self._build(tensor, number, place / (span - 1) if span > 1 else 1.0)


def load_mergekit(path: Path) -> MergekitJob:
    """A mergekit configuration as a merge.

    Raises:
        RecipeError: It cannot be read, or has an unsupported key, method or value; the message names its YAML
            path.
    """
    file = validated(read_mergekit(path), name=str(path))
    name, kind = file.merge_method, KINDS[file.merge_method]
    slices = slices_of(file)
    shared = rules_of(file.parameters, "parameters")
    base = None if file.base_model is None else str(file.base_model)
    models = list(dict.fromkeys(model for part in slices for model in part.models))
    if kind.method == "passthrough":
        kind = _passthrough(kind, slices, base)
    sliced = file.slices is not None
    pivot, targets = _roles(
        kind, name, base=base, over=slices[0].sources[0].over, models=models, sliced=sliced
    )
    _check_adapters(slices, pivot)
    named = name_targets(targets, split=False)
    check_rules(kind, slices, shared)
    build = builder(kind, slices, shared, targets, base is not None)
    embeddings, tokenizer = _vocabulary(file)
    arrangement = None
    if sliced:
        names = dict(zip(named.values(), named, strict=True))
        arrangement = _arrangement(kind, slices, pivot, names, base)
        check_slices(slices, targets, build)
    return MergekitJob(
        pivot, named, build("", None, 0.0), file.stored, embeddings, tokenizer, file.chat_template, arrangement,
        build, tuple(part.layers for part in slices) if sliced else (),
    )  # fmt: skip


def _check_adapters(slices: list[Slice], pivot: str) -> None:
    """Raise RecipeError if an adapter belongs to a model other than the pivot."""
    for source in (source for part in slices for source in part.sources):
        if source.over not in (None, pivot):
            raise RecipeError(
                f"The adapter {source.model} belongs to {source.over}, but adapters are applied to {pivot}",
                where="models",
                do="name its model as base_model, or merge the adapter into it first (peft's merge_and_unload)",
            )


def _passthrough(kind: Kind, slices: list[Slice], base: str | None) -> Kind:
    """Passthrough of slices, or of one whole model, which is ``linear`` of it; else raises RecipeError."""
    first = slices[0].sources[0]
    if first.span is None:
        if len(slices[0].sources) != 1:
            raise RecipeError(
                "Passthrough takes one whole model, or slices of several",
                where="models",
                do="use one model, or slices",
            )
        return WHOLE
    for number, part in enumerate(slices):
        if len(part.sources) != 1:
            raise RecipeError(
                "A slice of passthrough has one source",
                where=f"slices.{number}.sources",
                do="list one source",
            )
    if first.over is not None and base is None:
        raise RecipeError(
            f"What is outside the layers would be {first.over}'s without the adapter {first.model}",
            where="slices.0.sources.0.model",
            do="name that model as base_model, or merge the adapter into it first (peft's merge_and_unload)",
        )
    return kind


def _roles(
    kind: Kind, name: str, *, base: str | None, over: str | None, models: list[str], sliced: bool
) -> tuple[str, list[str]]:
    """The pivot and the targets; ``over`` is the base of the first model if that is an adapter."""
    if base is None and kind.base is not None:
        raise RecipeError(
            f"Method {name} needs a base model", where="base_model", do="name one of the models, or another"
        )
    pivot = base or over or models[0]
    others = [model for model in models if model != base]
    if kind.base is False:
        if len(others) != 1 and not sliced:
            raise RecipeError(
                f"Method {name} needs the base model and one other", where="models", do="list two models"
            )
        return pivot, others
    if kind.base:
        return pivot, others
    if kind.method == "passthrough":
        return pivot, [model for model in models if model != pivot]
    return pivot, models if kind.method in ("linear", "karcher") else others


def _vocabulary(file: MergekitFile) -> tuple[Embeddings | None, str | None]:
    """What to do if vocabularies differ, and another model whose tokenizer is wanted; None by default."""
    source = file.tokenizer_source if file.tokenizer is None else file.tokenizer.source
    if source is None:
        return None, None
    name = str(source).removeprefix("model:")  # older versions of mergekit require that
    known: dict[str, Embeddings] = {"base": "pivot", "union": "union"}
    return (known[name], None) if name in known else (None, name)


def _arrangement(
    kind: Kind, slices: list[Slice], pivot: str, names: Mapping[str, str], base: str | None
) -> Arrangement:
    """The fused layers, from each slice's own sources.

    Tensors outside the layers are merged like the first or the last slice.

    Raises:
        RecipeError: A slice lacks the base model, against which its changes would be measured.
    """
    layers: list[tuple[tuple[str, int], ...]] = []
    ends = []
    based = kind.base is not None or (base is not None and kind.method not in ("linear", "karcher"))
    for number, part in enumerate(slices):
        spans = {source.model: source.span for source in part.sources}
        if kind.method == "passthrough":
            order = [("pivot" if model == pivot else names[model], model) for model in spans]
        else:
            held = [(names[model], model) for model in targets_of(part, list(names))]
            alone = len(spans) == 1 and kind.base is False
            if kind.base is False and len(spans) > 2:
                raise RecipeError(
                    f"Method {kind.method} takes two models",
                    where=f"slices.{number}.sources",
                    do="list the base model and one other",
                )
            if based and pivot not in spans and not alone:
                raise RecipeError(
                    f"This slice does not name the base model {pivot}",
                    where=f"slices.{number}.sources",
                    do="add its layers",
                )
            order = [("pivot", pivot) if pivot in spans else held[0], *held]
        ends.append(tuple(name for name, _ in order))
        for i in range(part.layers):
            layers.append(tuple((name, span[0] + i) for name, model in order if (span := spans[model])))
    if kind.method == "passthrough":
        return Arrangement(tuple(layers))
    return Arrangement(tuple(layers), before=ends[0], after=ends[-1])
