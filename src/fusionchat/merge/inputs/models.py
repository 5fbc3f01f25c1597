"""The models of a merge, opened, with their tensors under the pivot's names."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.merge.inputs.adapters.file import is_adapter
from fusionchat.merge.inputs.adapters.lora import Adapter, open_adapter
from fusionchat.merge.inputs.checkpoint import Checkpoint, open_checkpoint, unwrapped
from fusionchat.merge.inputs.names import Known
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.prefixes import without_prefix
from fusionchat.merge.inputs.published import refuse_adapter, refuse_quantized
from fusionchat.merge.inputs.reconcile import Buffers, check_kind, own_head, reconciled
from fusionchat.merge.inputs.stored import MappedFile
from fusionchat.merge.inputs.tied import tied_names, untied, with_head
from fusionchat.models.base import require_same_weights

PIVOT = "pivot"
"""The pivot's name among the models."""


@dataclass(frozen=True)
class OpenModel:
    """One input of a merge.

    Attributes:
        name: ``pivot``, or the target's name.
        folder: Its path.
        held: The content of the folder: a checkpoint, or an adapter of the pivot.
        tensors: Its weights by the pivot's names, for all of the pivot's tensors; empty before `reconcile`.
    """

    name: str
    folder: Path
    held: Checkpoint | Adapter
    tensors: dict[str, Source] = field(default_factory=dict)

    @property
    def files(self) -> list[MappedFile]:
        """Its weight files."""
        return self.held.files

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint; None if the model is an adapter."""
        return self.held if isinstance(self.held, Checkpoint) else None

    @property
    def biases(self) -> dict[str, Source]:
        """Biases of layers that have none in the pivot."""
        return self.held.biases if isinstance(self.held, Adapter) else {}


@dataclass(frozen=True)
class Family:
    """Pivot and targets of a merge, and what is known of their structure.

    Attributes:
        base: The pivot's checkpoint.
        targets: The targets in order.
        pivot: The pivot as one of the models.
        config: The fused model's config.
        known: The pivot's structure, looked up if names alone do not decide.
        buffers: The pivot's tensors that are not parameters.
    """

    base: Checkpoint
    targets: tuple[OpenModel, ...]
    pivot: OpenModel
    config: dict[str, Json]
    known: Known
    buffers: Buffers

    @property
    def models(self) -> tuple[OpenModel, ...]:
        """The pivot, then the targets."""
        return self.pivot, *self.targets

    @property
    def names(self) -> list[str]:
        """The targets' names."""
        return [target.name for target in self.targets]


def open_models(
    stack: ExitStack, pivot: Path, targets: Mapping[str, Path], *, allow_pickle: bool = False
) -> Family:
    """The opened pivot and targets; ``stack`` closes them.

    Raises:
        MergeError: One cannot be read, is quantized, or has another structure than the pivot.
        ModelError: An adapter was trained on other weights than the pivot's.
    """
    refuse_adapter(pivot)
    base = open_folder(stack, pivot, allow_pickle=allow_pickle)
    refuse_quantized(base)
    base = without_prefix(base)
    known = Known(base)
    buffers = Buffers(known.buffers())
    opened: list[OpenModel] = []
    for name, folder in targets.items():
        held: Checkpoint | Adapter
        if is_adapter(folder):
            require_same_weights(folder, pivot)
            held = open_adapter(folder, base, known=known, allow_pickle=allow_pickle)
            for file in held.files:
                stack.callback(file.close)
        else:
            held = open_folder(stack, folder, allow_pickle=allow_pickle)
        opened.append(OpenModel(name, folder, held))
    for target in opened:
        if target.checkpoint is not None:
            refuse_quantized(target.checkpoint)
            check_kind(target.name, target.checkpoint, base)
    return Family(base, tuple(opened), OpenModel(PIVOT, pivot, base), base.config, known, buffers)


def open_folder(stack: ExitStack, folder: Path, *, allow_pickle: bool = False) -> Checkpoint:
    """A folder's checkpoint; ``stack`` closes it."""
    checkpoint = open_checkpoint(folder, allow_pickle=allow_pickle)
    stack.callback(checkpoint.close)
    return unwrapped(checkpoint)


def reconcile(family: Family) -> Family:
    """All models with their tensors under the pivot's names, and with an untied head if a target has one.

    Raises:
        MergeError: A parameter is missing or extra.
    """
    heads = (_head(target, family) for target in family.targets)
    head = next((name for name in heads if name is not None), None)
    base, config = family.base, family.config
    if head is not None:
        base, config = with_head(base, tied_names(base)[0], head), untied(config)
    targets = []
    for target in family.targets:
        if isinstance(target.held, Adapter):
            tensors = _adapted(target.held, base)
        else:
            tensors = reconciled(target.name, target.held, base, family.known, family.buffers)
        targets.append(replace(target, tensors=tensors))
    pivot = replace(family.pivot, held=base, tensors=dict(base.tensors))
    return replace(family, base=base, pivot=pivot, targets=tuple(targets), config=config)


def _head(target: OpenModel, family: Family) -> str | None:
    """The name of a target's head that is not tied to the embedding; None if it has none."""
    if isinstance(target.held, Adapter):
        return target.held.head
    return own_head(target.held, family.base, family.known)


def _adapted(adapter: Adapter, base: Checkpoint) -> dict[str, Source]:
    """All of the pivot's tensors as changed by an adapter.

    If it keeps the head tied, both are the embedding.
    """
    tensors: dict[str, Source] = {**base.tensors, **adapter.changed}
    tied = tied_names(base)
    if adapter.head is None and len(tied) == 2:
        tensors[tied[1]] = tensors[tied[0]]
    return tensors
