"""From an adapter's names to the pivot's: the same, or the same from the layers on where wrappers have other names.

Models are wrapped in more than one way: ``model.layers.0`` in a language model is ``model.language_model.layers.0`` in
the model for images and text around it, and some files leave the wrapper's name out. Names meet by their last part, which
begins before the first number; where several of the pivot's names have that part, the wrappers' names decide.
"""

from collections.abc import Iterable

from fusionchat.merge.checkpoint import Checkpoint


class Names:
    """The pivot's tensor names, to be found by an adapter's.

    Args:
        names: The pivot's names.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self.by_end: dict[str, list[str]] = {}
        for name in sorted(self.names):
            self.by_end.setdefault(_split(name)[1], []).append(name)

    def find(self, name: str) -> str | None:
        """The pivot's name for an adapter's; None where there is none, or more than one that fits as well."""
        if name in self.names:
            return name
        before, end = _split(name)
        rated = sorted((len(_split(n)[0] ^ before), n) for n in self.by_end.get(end, []))
        if not rated or (len(rated) > 1 and rated[0][0] == rated[1][0]):
            return None
        return rated[0][1]


def _split(name: str) -> tuple[frozenset[str], str]:
    """The wrappers' names, and the part that has to be the same: from before the first number, or the last two names."""
    parts = name.split(".")
    number = next((n for n, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    cut = max(0, number - 1)
    return frozenset(parts[:cut]), ".".join(parts[cut:])


def why_absent(name: str, pivot: Checkpoint) -> str:
    """What is to be said where the pivot lacks a tensor that an adapter changes: the end of a sentence."""
    module, _, leaf = name.rpartition(".")
    others = [n for n in pivot.tensors if f".{n}".startswith(f".{module}.") or f".{module}." in f".{n}"]
    if any(not pivot.tensors[n].is_float for n in others):
        return "which the pivot stores quantized"
    if leaf == "bias":
        return "and the pivot has no bias there"
    if ".experts." in f"{name}." and any(".experts." in n for n in pivot.tensors):
        return "and the pivot stores its experts in another form"
    return "which the pivot does not have"
