# I items of a metric
"""`Scores`: a finished evaluation of one model, item by item for every metric."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from fusionchat.artifacts import Json, read_json, write_json
from fusionchat.corpus.conversation import Conversation
from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.statistics import Estimate

SCORES = "scores.json"


class Items(NamedTuple):
    """The items of a metric.

    Attributes:
        ids: The id of each item.
        domains: The domain of each item; "" for none.
        values: float64 [I], the values that are added up or averaged.
        sizes: [I], the divisors of the values; ones for a mean.
    """

    ids: tuple[str, ...]
    domains: tuple[str, ...]
    values: NDArray[np.float64]
    sizes: NDArray[np.int64] | NDArray[np.float64]

    @classmethod
    def of(
        cls,
        conversations: Sequence[Conversation],
        values: Sequence[float] | Float[np.ndarray, " I"],
        sizes: NDArray[np.int64] | None = None,
    ) -> "Items":
        """One item for each conversation; without sizes, the mean counts."""
        return cls(
            tuple(c.id for c in conversations),
            tuple(c.domain for c in conversations),
            np.asarray(values, dtype=np.float64),
            np.ones(len(conversations), dtype=np.int64) if sizes is None else sizes,
        )


class Scores(NamedTuple):
    """A finished evaluation.

    Attributes:
        parameters: The number of the model's parameters.
        items: The items by the metric's name; a metric without items is missing.
        counts: What tasks save beside their items, by name.
        folder: The folder of the tasks' files.
    """

    parameters: int
    items: Mapping[str, Items]
    counts: Mapping[str, int] = {}
    folder: Path = Path()

    def estimate(self, metric: Metric) -> Estimate:
        """The model's figure in a metric that has items."""
        items = self.items[metric.name]
        return metric.estimator.value(items.values, items.sizes)

    def summary(self, metrics: Iterable[Metric]) -> dict[str, float]:
        """The figure of every metric that has items."""
        return {m.name: round(self.estimate(m).value, 6) for m in metrics if m.name in self.items}


def write_scores(folder: Path, scores: Scores) -> None:
    """Write ``scores.json``: for every metric its items' ids, domains, values and sizes."""
    metrics: dict[str, Json] = {name: _to_json(items) for name, items in scores.items.items()}
    write_json(
        folder / SCORES,
        {"parameters": scores.parameters, "counts": dict(scores.counts), "metrics": metrics},
    )


def read_scores(folder: Path) -> Scores:
    """The scores in a finished evaluation's folder, as they were written."""
    raw = read_json(folder / SCORES)
    metrics = cast(dict[str, dict[str, list[str]]], raw["metrics"])
    return Scores(
        int(str(raw["parameters"])),
        {name: _from_json(held) for name, held in metrics.items()},
        cast(dict[str, int], raw["counts"]),
        folder,
    )


def _to_json(items: Items) -> Json:
    return {
        "id": list(items.ids),
        "domain": list(items.domains),
        "value": items.values.tolist(),
        "size": items.sizes.tolist(),
    }


def _from_json(held: Mapping[str, list[str]]) -> Items:
    return Items(
        tuple(held["id"]),
        tuple(held["domain"]),
        np.array(held["value"], dtype=np.float64),
        np.array(held["size"]),
    )
