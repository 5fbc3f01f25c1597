"""``merge_weights.json``: the figures of a merge, per tensor and overall, written and read here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.artifacts import Json, read_json
from fusionchat.errors import ArtifactError
from fusionchat.merge.methods import METHODS
from fusionchat.merge.methods.base import Gram, Method, Mixture

REPORT = "merge_weights.json"
"""Its file in the fused model's folder."""


@dataclass(frozen=True)
class TensorReport:
    """One tensor of the fused model.

    Attributes:
        name: Its name.
        shape: Its shape.
        weights: Weight of every target; empty if the method decides element by element.
        base: Factor of the pivot when the result is written as pivot plus weighted changes (1 for most
            methods).
        rms: Root mean square change of every target against the pivot.
        cosine: Cosine between the changes of each pair of targets (1 and 2, 1 and 3, 2 and 3 ...); None if
            one is 0.
        conflicts: Share of elements that one target raises and another lowers.
        change_rms: Root mean square change of the fused tensor against the pivot, before rounding.
        rounding_loss: Root mean square rounding error divided by ``change_rms``; 0 if nothing changed.
        kept: Share of every target's elements that took part; empty if all did.
        ties: Elements of every target exactly on a selection's threshold; empty without a selection.
    """

    name: str
    shape: list[int]
    weights: list[float]
    base: float
    rms: list[float]
    cosine: list[float | None]
    conflicts: float
    change_rms: float
    rounding_loss: float
    kept: list[float] = field(default_factory=list)
    ties: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Json]:
        """All of it as plain JSON values."""
        return dict(vars(self))

    def spread(self, places: Sequence[int], targets: int) -> "TensorReport":
        """The report for all of a merge's targets; those that take no part have weight and change 0."""

        def wide(values: Sequence[float]) -> list[float]:
            held = dict(zip(places, values, strict=True))
            return [held.get(j, 0) for j in range(targets)]

        pairs = [(k, j) for k in range(len(places)) for j in range(k)]
        met = [sorted((places[k], places[j]), reverse=True) for k, j in pairs]
        known = {(k, j): c for (k, j), c in zip(met, self.cosine, strict=True)}
        return replace(
            self,
            weights=wide(self.weights) if self.weights or not places else [],
            rms=wide(self.rms),
            cosine=[known.get((k, j)) for k in range(targets) for j in range(k)],
            kept=wide(self.kept) if self.kept else [],
            ties=[int(n) for n in wide(self.ties)] if self.ties else [],
        )

    @classmethod
    def of(
        cls,
        name: str,
        shape: Sequence[int],
        gram: Gram,
        *,
        mixture: Mixture | None,
        sums: np.ndarray,
        kept_J: np.ndarray | None,
        ties: list[int],
    ) -> "TensorReport":
        """The figures of a tensor, computed from sums."""
        squares_J, count = gram.squares_J, gram.count
        change, loss = float(sums[0]), float(sums[1])
        return cls(
            name=name,
            shape=list(shape),
            weights=[] if mixture is None else [float(w) for w in mixture.shares_J],
            base=1.0 if mixture is None else float(mixture.base),
            rms=[float(r) for r in np.sqrt(squares_J / count)],
            cosine=[_cosine(gram, j, k) for k in range(gram.targets) for j in range(k)],
            conflicts=gram.conflicts / count,
            change_rms=float(np.sqrt(change / count)),
            rounding_loss=float(np.sqrt(loss / change)) if change > 0 else 0.0,
            kept=[] if kept_J is None else [int(k) / count for k in kept_J],
            ties=ties,
        )


def _cosine(gram: Gram, j: int, k: int) -> float | None:
    squares_J = gram.squares_J
    if not (squares_J[j] > 0 and squares_J[k] > 0):
        return None
    return float(
        np.clip(gram.products_NN[j + 1, k + 1] / np.sqrt(squares_J[j]) / np.sqrt(squares_J[k]), -1, 1)
    )


@dataclass(frozen=True)
class InputFile:
    """A weight file that was read.

    Attributes:
        bytes: Its size.
        sha256: Its SHA-256; empty if unknown.
        source: Where that comes from (`fusionchat.merge.stream.provenance`).
    """

    bytes: int
    sha256: str = ""
    source: str = ""

    def to_json(self) -> dict[str, Json]:
        """The known values as plain JSON values."""
        return {key: value for key, value in vars(self).items() if value != ""}


@dataclass(frozen=True)
class MergeReport:
    """A finished merge.

    Attributes:
        method: The method's settings.
        pivot: The pivot's folder name.
        targets: The targets' names in order.
        dtype: The dtype of the fused model's files.
        tensors: One report per merged tensor.
        copied: Names of tensors that were copied byte for byte.
        files: SHA-256 of every weight file written.
        inputs: The weight files of each input by name.
        fingerprint: SHA-256 of settings and inputs' headers.
        seconds: Wall time.
        bytes_read: Bytes of the inputs.
        bytes_written: Bytes of the weight files written.
    """

    method: dict[str, Json]
    pivot: str
    targets: list[str]
    dtype: str
    tensors: list[TensorReport]
    copied: list[str]
    files: dict[str, str]
    inputs: dict[str, dict[str, InputFile]]
    fingerprint: str
    seconds: float
    bytes_read: int
    bytes_written: int

    def to_json(self) -> dict[str, Json]:
        """All of it as plain JSON values."""
        inputs: dict[str, Json] = {
            name: {file: said.to_json() for file, said in files.items()}
            for name, files in self.inputs.items()
        }
        return {**asdict(self), "inputs": inputs, "summary": self.summary()}

    @classmethod
    def from_json(cls, values: Mapping[str, Json]) -> "MergeReport":
        """The report that `to_json` wrote; raises KeyError or TypeError for anything else."""
        given: dict[str, Any] = {field.name: values[field.name] for field in fields(cls)}
        given["tensors"] = [TensorReport(**tensor) for tensor in given["tensors"]]
        given["inputs"] = {
            name: {file: InputFile(**said) for file, said in files.items()}
            for name, files in given["inputs"].items()
        }
        return cls(**given)

    @property
    def settings(self) -> Method:
        """The method with its settings."""
        held: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in self.method.items()}
        return METHODS[held["method"]](**held)

    def summary(self) -> dict[str, Json]:
        """Figures over the whole model, weighted by elements."""
        counts = np.array([np.prod(t.shape, dtype=np.int64) for t in self.tensors], dtype=np.float64)
        total = max(counts.sum(), 1.0)
        figures: dict[str, Json] = {"parameters": int(counts.sum())}
        if self.tensors:
            rms = np.array([t.rms for t in self.tensors])
            figures["rms"] = [float(v) for v in np.sqrt((counts[:, None] * rms**2).sum(0) / total)]
            change = np.array([t.change_rms for t in self.tensors])
            figures["change_rms"] = float(np.sqrt((counts * change**2).sum() / total))
            figures["conflicts"] = float(
                (counts * np.array([t.conflicts for t in self.tensors])).sum() / total
            )
            loss = np.array([t.change_rms * t.rounding_loss for t in self.tensors])
            moved = (counts * change**2).sum()
            figures["rounding_loss"] = float(np.sqrt((counts * loss**2).sum() / moved)) if moved > 0 else 0.0
            if all(t.weights for t in self.tensors):
                weights = np.array([t.weights for t in self.tensors])
                figures["weights"] = [float(v) for v in (counts[:, None] * weights).sum(0) / total]
            if all(t.kept for t in self.tensors):
                kept = np.array([t.kept for t in self.tensors])
                figures["kept"] = [float(v) for v in (counts[:, None] * kept).sum(0) / total]
        return figures


def finished(folder: Path, mark: str, sizes: Mapping[str, int]) -> MergeReport | None:
    """The finished report in a folder with this fingerprint and these file sizes, or None."""
    report = report_of(folder) if all((folder / name).is_file() for name in sizes) else None
    if report is None or report.fingerprint != mark:
        return None
    there = {name: (folder / name).stat().st_size for name in sizes}
    return report if there == dict(sizes) else None


def report_of(folder: Path) -> MergeReport | None:
    """The report in a model's folder; None if it is missing, damaged or of another version."""
    path = folder / REPORT
    try:
        return MergeReport.from_json(read_json(path)) if path.is_file() else None
    except (ArtifactError, KeyError, TypeError, AttributeError):
        return None
