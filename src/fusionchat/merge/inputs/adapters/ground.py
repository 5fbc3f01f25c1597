"""The pivot's tensor for each change of an adapter, and the errors for changes that do not fit."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.config import Settings
from fusionchat.merge.inputs.adapters.file import Contents
from fusionchat.merge.inputs.adapters.low_rank import Adapted, Change, Kept, Taken
from fusionchat.merge.inputs.adapters.names import Names, why_absent
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.structure import Structure
from fusionchat.merge.inputs.tied import How, tied_names, vocabulary_rows
from fusionchat.merge.weights import layer_of

AGAIN = "save the adapter again with peft"
TIED_BY_PEFT = ("embed_tokens", "lm_head")
"""Modules for which peft obeys ensure_weight_tying (peft.utils.constants.EMBEDDING_LAYER_NAMES)."""


class Ground:
    """An adapter's settings and tensors, the pivot's tensors, and those changed so far.

    Args:
        settings: The adapter's settings.
        contents: Its weights.
        pivot: The pivot.
        known: What transformers knows of the pivot, if anything.
    """

    def __init__(
        self,
        settings: Settings,
        contents: Contents,
        pivot: Checkpoint,
        known: Callable[[], Structure | None],
    ) -> None:
        self.settings, self.contents, self.pivot = settings, contents, pivot
        self.names, self.kept, self.tied = Names(pivot.tensors, known), Kept(), tied_names(pivot)
        self.changed: dict[str, Source] = {}
        self.biases: dict[str, Source] = {}
        self.how: dict[str, How] = {}

    def find(self, name: str, rows: int | None = None) -> tuple[str, Source]:
        """The pivot's name for an adapter's, and the tensor before the change.

        A head that the pivot does not store, because it is tied, keeps its name; it has the ``rows`` of the
        embedding, or more if tokens were added. With fewer it is another head, such as a classifier's.
        """
        found = self.names.find(name)
        if found is not None:
            base: Source = self.changed.get(found) or self.pivot.tensors[found]
            if not base.is_float:
                raise self.misfit(name, "which the pivot stores quantized", "use the unquantized model")
            return found, base
        if len(self.tied) == 1 and layer_of(name) is None and name.endswith(".weight"):
            embedding = self.tied[0]
            trained = self.contents.replaced.get(self._embedding or "")
            shared = trained if self.how.get(embedding) == "stored" else None
            twin = self.changed.get(name) or shared or self.pivot.tensors[embedding]
            if rows is None or rows >= min(t.shape[0] for t in (twin, trained) if t):
                return name, twin
        if any(name.startswith(f"{saved}.") or f".{saved}." in name for saved in self.settings.saved):
            raise self.refusal(
                f"modules_to_save holds {name}, but the pivot has no such module",
                "use a pivot with that module, or train the adapter without it (a head for another task, perhaps)",
            )
        raise self.misfit(name, why_absent(name, self.pivot))

    @cached_property
    def _embedding(self) -> str | None:
        """The adapter's name of a tied embedding of which it has the whole tensor."""
        return next((n for n in self.contents.replaced if self.names.find(n) in self.tied), None)

    def is_shared(self, found: str) -> bool:
        """Whether a tensor is a tied head or its embedding, and neither has changed so far."""
        return bool(self.tied) and (found in self.tied or found not in self.pivot.tensors) and not (
            set(self.tied) & self.changed.keys()
        )  # fmt: skip

    def take_from_both(self, base: Source, taken: Taken, rank: int, scale: float) -> Source:
        """A tied head without what peft removed from it; the embedding changes in the same way."""
        left_EPR, right_ERQ = np.zeros((1, base.shape[0], 1)), np.zeros((1, 1, base.shape[1]))
        change = Change(lambda: (left_EPR, right_ERQ), taken=taken, rank=rank, scale=scale)
        left = Adapted(base, change, str(self.contents.file.path), self.kept)
        for name in self.tied:
            self.changed[name], self.how[name] = left, "stored"
        return left

    def trains_tied_as_one(self) -> bool:
        """Whether peft trained copies or factors of a tied head and its embedding as one."""
        trained = (*self.settings.saved, *self.contents.modules)
        return self.settings.tied and any(name.rpartition(".")[2] in TIED_BY_PEFT for name in trained)

    def is_vocabulary(self, name: str) -> bool:
        """Whether a tensor of the pivot has a row for each token, as a tied head does too."""
        held = self.pivot.tensors.get(name)
        rows = vocabulary_rows(self.pivot.config)
        if held is None:
            return True
        return layer_of(name) is None and (held.shape[:1] == (rows,) if rows else len(held.shape) == 2)

    def refusal(self, what: str, do: str) -> MergeError:
        """The error for the adapter's file."""
        return MergeError(what, where=str(self.contents.file.path), do=do)

    def lacks(self, setting: str, tensor: str) -> MergeError:
        """The error for a setting whose tensor is missing."""
        return self.refusal(f"{setting} is set, but the file lacks {tensor}", AGAIN)

    def misfit(self, name: str, why: str, do: str = "") -> MergeError:
        """The error for a changed tensor that the pivot lacks or has in another shape."""
        base = f" ({self.settings.base})" if self.settings.base else ""
        return self.refusal(
            f"The adapter changes {name}, {why}", do or f"use the adapter's own base model{base} as pivot"
        )
