"""The weights of a merge as a picture's data, from its ``merge_weights.json``."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.merge.methods import METHODS
from fusionchat.merge.weights import layer_of, module_of
from fusionchat.report.model import MergedTensor, MergeFile, MergeWeights

Place = tuple[str, int | None]  # module, layer


def merge_weights(raw: Mapping[str, Json], *, label: str, method: str) -> MergeWeights | None:
    """Weights as [targets][modules][layers]; None for a method that decides element by element.

    Parameters that differ only in a number inside a layer (the experts of a mixture) are averaged, and so are
    a weight and its bias.

    Args:
        raw: A merge report: ``targets``, and ``tensors`` with ``name`` and ``weights``.
        label: The merge's name in the report.
        method: The method's name.
    """
    targets, tensors = raw.get("targets"), raw.get("tensors")
    assert isinstance(targets, list) and isinstance(tensors, list), "not a merge report"
    cells: dict[Place, list[Sequence[float]]] = defaultdict(list)
    for tensor in tensors:
        assert isinstance(tensor, dict)
        name, weights = str(tensor["name"]), tensor["weights"]
        if isinstance(weights, list) and weights:
            cells[short_module(name), layer_of(name)].append([float(str(w)) for w in weights])
    if not cells:
        return None
    layers = sorted({layer for _, layer in cells if layer is not None})
    columns: list[int | None] = [*([None] if any(layer is None for _, layer in cells) else []), *layers]
    inner = dict.fromkeys(module for module, layer in cells if layer is not None)
    modules = dict.fromkeys([*inner, *(module for module, _ in cells)])
    return MergeWeights(
        label=label,
        method=method,
        targets=tuple(map(str, targets)),
        layers=tuple("" if column is None else str(column) for column in columns),
        modules=tuple(modules),
        weights=tuple(
            tuple(tuple(mean(cells.get((m, c)), t) for c in columns) for m in modules)
            for t in range(len(targets))
        ),
    )


def merged_tensors(raw: Mapping[str, Json]) -> tuple[MergedTensor, ...]:
    """The merge report's tensors, by name."""
    tensors = raw["tensors"]
    assert isinstance(tensors, list), "not a merge report"
    fields = MergedTensor.__dataclass_fields__
    found = [
        {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in tensor.items()
            if key in fields
        }
        for tensor in tensors
        if isinstance(tensor, dict)
    ]
    return tuple(sorted((MergedTensor(**values) for values in found), key=lambda t: natural(t.name)))  # type: ignore[arg-type]


def merge_files(raw: Mapping[str, Json], sizes: Mapping[str, int]) -> tuple[MergeFile, ...]:
    """The weight files a merge report names: its inputs', then those written, whose ``sizes`` are given by name."""
    inputs, written = raw["inputs"], raw["files"]
    assert isinstance(inputs, dict) and isinstance(written, dict), "not a merge report"
    found = []
    for model, files in inputs.items():
        assert isinstance(files, dict)
        for name, said in files.items():
            assert isinstance(said, dict)
            digest, source = str(said.get("sha256", "")), str(said.get("source", ""))
            found.append(MergeFile(model, name, int(str(said["bytes"])), digest, source))
    found += [MergeFile("fused model", n, sizes[n], str(digest), "written") for n, digest in written.items()]
    return tuple(found)


def merge_words(raw: Mapping[str, Json]) -> str:
    """A merge report's method in words: its name and the settings that are not its defaults, folders by their last part."""
    from fusionchat.merge.search import describe

    said = raw["method"]
    assert isinstance(said, dict), "not a merge report"
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    method = METHODS[str(said["method"])](**settings)  # type: ignore[arg-type]
    words = describe(method)
    for folder in method.auxiliary():
        words = words.replace(folder, Path(folder).name)
    return words


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key by which layer 10 comes after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def short_module(name: str) -> str:
    """A parameter's place in its layer without experts' numbers, ``.weight`` and ``.bias``; outside, its last name."""
    place = module_of(name).removesuffix(".bias")
    if layer_of(name) is None:
        return place.rpartition(".")[2]
    return re.sub(r"\.\d+(?=\.|$)", "", place)


def mean(weights: Sequence[Sequence[float]] | None, target: int) -> float | None:
    """The mean weight of a target, None for nothing."""
    return sum(w[target] for w in weights) / len(weights) if weights else None
