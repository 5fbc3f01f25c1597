# M models, U units
"""Route: the recipe says which model a conversation gets, by its domain or its id. PURE."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from fusionchat.fuse.rules.base import PIVOT, BaseRule, Column, Units


@dataclass(frozen=True)
class Route(BaseRule):
    """The distribution of the model that ``map`` names for the conversation's domain or id.

    This suits sources that are experts.

    A conversation that is not in ``map``, or whose model does not take part in the target, gets the pivot's
    distribution; these are counted.

    Attributes:
        column: ``domain``, which a corpus entry's ``domain`` takes from any column of the file, or ``id``,
            for a choice that was made elsewhere, conversation by conversation.
        map: The source (or ``pivot``) for each domain or id.
    """

    method: Literal["route"] = "route"
    column: Column = "domain"
    map: dict[str, str] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.map:
            raise ValueError(f"map must name a source for at least one {self.column}")

    def weigh(self, units: Units) -> Float[np.ndarray, "M U"]:
        """1 for the model that the map names for the unit, 0 for the others."""
        place = {name: i for i, name in enumerate(units.names)}
        chosen_U = np.array([place.get(self.map.get(one, PIVOT), 0) for one in units.labels], np.int64)
        return (np.arange(len(units.names))[:, None] == chosen_U).astype(np.float32)

    def to_pivot(self, units: Units) -> Mapping[str, int]:
        """How many conversations have no model, by domain, or a model that is not fused here.

        All ids count as one reason.
        """
        counts = Counter[str]()
        for label in units.labels:
            model = self.map.get(label)
            if model is None and self.column == "id":
                counts["id is not in fuse.map"] += 1
            elif model is None:
                counts[f"domain {label!r} is not in fuse.map" if label else "no domain"] += 1
            elif model not in units.names:
                counts[f"{model} is not fused here"] += 1
        return dict(sorted(counts.items()))

    @property
    def models(self) -> dict[str, str]:
        """The models in the map, and those with a temperature."""
        return super().models | {f"map.{label}": model for label, model in self.map.items()}

    @property
    def labels(self) -> Sequence[str]:
        """The domains or ids of the map."""
        return tuple(self.map)
