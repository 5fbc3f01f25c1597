"""The models and slices of a mergekit file, each setting with its YAML path."""

from typing import NamedTuple

from fusionchat.merge.mergekit.rules import Rule, rules_of
from fusionchat.merge.mergekit.schema import Entry, LayerEntry, MergekitFile, SliceEntry, parts


class Source(NamedTuple):
    """A model of a merge; ``over`` is the base of an adapter (``over+model``)."""

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
        """The number of its layers; 0 for whole models."""
        span = self.sources[0].span
        return span[1] - span[0] if span else 0


def slices_of(file: MergekitFile) -> list[Slice]:
    """A file's slices; a file with ``models`` has one, of whole models."""
    if file.models is not None:
        return [Slice([_source(entry, f"models.{n}") for n, entry in enumerate(file.models)], {})]
    return [_slice(entry, f"slices.{n}") for n, entry in enumerate(file.slices or ())]


def _slice(entry: SliceEntry, where: str) -> Slice:
    sources = [_source(source, f"{where}.sources.{n}") for n, source in enumerate(entry.sources)]
    return Slice(sources, rules_of(entry.parameters, f"{where}.parameters"))


def _source(entry: Entry, where: str) -> Source:
    model, over = parts(entry.model)
    span = entry.layer_range if isinstance(entry, LayerEntry) else None
    return Source(model, over, span, rules_of(entry.parameters, f"{where}.parameters"))
