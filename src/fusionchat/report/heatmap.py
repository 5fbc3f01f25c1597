"""The weights of a merge as the data of a heatmap, from its ``merge_weights.json``."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionchat.merge.stream.result import MergeReport
from fusionchat.merge.weights import layer_of, module_of
from fusionchat.report.figures import MergedTensor, MergeFile, MergeWeights

Place = tuple[str, int | None]  # module, layer


def merge_weights(merge: MergeReport, *, label: str, method: str) -> MergeWeights | None:
    """Weights as [targets][modules][layers]; None for a method that decides element by element.

    Parameters that differ only in a number inside a layer (the experts of a mixture) are averaged, and so are
    a weight and its bias.

    Args:
        merge: The merge's own report.
        label: The merge's name in the report.
        method: The method's name.
    """
    cells: dict[Place, list[Sequence[float]]] = defaultdict(list)
    for tensor in merge.tensors:
        if tensor.weights:
            cells[short_module(tensor.name), layer_of(tensor.name)].append(tensor.weights)
    if not cells:
        return None
    layers = sorted({layer for _, layer in cells if layer is not None})
    columns: list[int | None] = [*([None] if any(layer is None for _, layer in cells) else []), *layers]
    inner = dict.fromkeys(module for module, layer in cells if layer is not None)
    modules = dict.fromkeys([*inner, *(module for module, _ in cells)])
    return MergeWeights(
        label=label,
        method=method,
        targets=tuple(merge.targets),
        layers=tuple("" if column is None else str(column) for column in columns),
        modules=tuple(modules),
        weights=tuple(
            tuple(tuple(mean(cells.get((m, c)), t) for c in columns) for m in modules)
            for t in range(len(merge.targets))
        ),
    )


def merged_tensors(merge: MergeReport) -> tuple[MergedTensor, ...]:
    """The merge's tensors, by name."""
    found = (
        MergedTensor(
            name=t.name,
            weights=tuple(t.weights),
            rms=tuple(t.rms),
            cosine=tuple(t.cosine),
            conflicts=t.conflicts,
            change_rms=t.change_rms,
            rounding_loss=t.rounding_loss,
            kept=tuple(t.kept),
            ties=tuple(t.ties),
        )
        for t in merge.tensors
    )
    return tuple(sorted(found, key=lambda t: natural(t.name)))


def merge_files(merge: MergeReport, sizes: Mapping[str, int]) -> tuple[MergeFile, ...]:
    """The weight files of a merge: its inputs', then those written, whose ``sizes`` are given by name."""
    found = [
        MergeFile(model, name, file.bytes, file.sha256, file.source)
        for model, files in merge.inputs.items()
        for name, file in files.items()
    ]
    found += [MergeFile("fused model", n, sizes[n], digest, "written") for n, digest in merge.files.items()]
    return tuple(found)


def merge_words(merge: MergeReport) -> str:
    """A merge's method in words: its name and the settings that differ from its defaults.

    Folders are named by their last part.
    """
    from fusionchat.merge.search import describe

    words = describe(merge.settings)
    for folder in merge.settings.auxiliary():
        words = words.replace(folder, Path(folder).name)
    return words


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts layer 10 after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def short_module(name: str) -> str:
    """A parameter's place in its layer without experts' numbers, ``.weight`` and ``.bias``.

    Outside the layers, its last name.
    """
    place = module_of(name).removesuffix(".bias")
    if layer_of(name) is None:
        return place.rpartition(".")[2]
    return re.sub(r"\.\d+(?=\.|$)", "", place)


def mean(weights: Sequence[Sequence[float]] | None, target: int) -> float | None:
    """The mean weight of a target; None for nothing."""
    return sum(w[target] for w in weights) / len(weights) if weights else None
