"""The weights of a merge by layer and module, from the ``merge_weights.json`` it leaves."""

from collections.abc import Mapping
from typing import cast

from fusionchat.artifacts import Json
from fusionchat.merge.weights import layer_of, module_of
from fusionchat.report.model import MergeWeights


def merge_weights(raw: Mapping[str, Json], *, label: str, method: str) -> MergeWeights | None:
    """Weights as [targets][modules][layers]; None for a method that decides element by element.

    Args:
        raw: A merge report: ``targets``, and ``tensors`` with ``name`` and ``weights``.
        label: The merge's name.
        method: Its method.
    """
    targets = tuple(str(name) for name in cast(list[str], raw["targets"]))
    cells: dict[tuple[str, str], list[float]] = {}
    layers: set[int] = set()
    for tensor in cast(list[dict[str, Json]], raw["tensors"]):
        weights = cast(list[float], tensor["weights"])
        if len(weights) != len(targets):
            return None
        name = str(tensor["name"])
        layer = layer_of(name)
        if layer is not None:
            layers.add(layer)
        cells[module_of(name), "" if layer is None else str(layer)] = weights
    columns = (("",) if any(column == "" for _, column in cells) else ()) + tuple(str(n) for n in sorted(layers))
    modules = tuple(dict.fromkeys(module for module, _ in cells))
    grid = tuple(
        tuple(tuple(cells[m, c][t] if (m, c) in cells else None for c in columns) for m in modules)
        for t in range(len(targets))
    )
    return MergeWeights(label, method, targets, columns, modules, grid)
