"""The pivot's names for an adapter's: equal ones, or equal from the layers on.

Models are wrapped in several ways: ``model.layers.0`` in a language model is
``model.language_model.layers.0`` in the model for images and text around it, and some files omit the
wrapper's name. Names are matched by their last part, which begins before the first number; if several of the
pivot's names have that part, the wrappers' names decide. If none has it, transformers is asked, which renames
parts of some structures when it loads a model (``block_sparse_moe.gate``).
"""

from collections.abc import Callable, Iterable
from functools import cached_property

from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.structure import Structure
from fusionchat.merge.weights import layer_of


class Names:
    """The pivot's tensor names, looked up by an adapter's.

    Args:
        names: The pivot's names.
        known: What transformers knows of the pivot, if anything.
    """

    def __init__(self, names: Iterable[str], known: Callable[[], Structure | None] = lambda: None) -> None:
        self.names, self.known = set(names), known
        self.by_end: dict[str, list[str]] = {}
        for name in sorted(self.names):
            self.by_end.setdefault(_split(name)[1], []).append(name)

    def find(self, name: str) -> str | None:
        """The pivot's name for an adapter's; None if there is none, or several match equally well."""
        if name in self.names:
            return name
        before, end = _split(name)
        rated = sorted((len(_split(n)[0] ^ before), n) for n in self.by_end.get(end, []))
        if (
            not rated and layer_of(name) is not None
        ):  # outside the layers it would confuse a tied head with the embedding
            structure = self.known()
            return None if structure is None else self._renamed.get(structure.canonical(name))
        if not rated:
            return None
        return rated[0][1] if len(rated) == 1 or rated[0][0] < rated[1][0] else None

    @cached_property
    def _renamed(self) -> dict[str, str]:
        """The pivot's names by transformers' names for them."""
        structure = self.known()
        return {} if structure is None else {structure.canonical(name): name for name in self.names}


def _split(name: str) -> tuple[frozenset[str], str]:
    """The wrappers' names, and the part that must be equal.

    That part is everything from before the first number, or the last two names.
    """
    parts = name.split(".")
    number = next((n for n, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    cut = max(0, number - 1)
    return frozenset(parts[:cut]), ".".join(parts[cut:])


def why_absent(name: str, pivot: Checkpoint) -> str:
    """Why the pivot lacks a tensor that an adapter changes, as the end of a sentence."""
    module, _, leaf = name.rpartition(".")
    others = [n for n in pivot.tensors if f".{n}".startswith(f".{module}.") or f".{module}." in f".{n}"]
    if any(not pivot.tensors[n].is_float for n in others):
        return "which the pivot stores quantized"
    if leaf == "bias":
        return "and the pivot has no bias there"
    if ".experts." in f"{name}." and any(".experts." in n for n in pivot.tensors):
        return "and the pivot stores its experts in another form"
    return "which the pivot does not have"
