# M models, U units
"""Route: which model a conversation takes is said by its domain. PURE."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from fusionchat.fuse.rules.base import PIVOT, BaseRule, Units


@dataclass(frozen=True)
class Route(BaseRule):
    """The distribution of the model that ``map`` names for the conversation's domain: for sources that are experts.

    A conversation whose domain is not in ``map``, or whose model is not among those that a target is made from, takes the
    pivot's distribution; these are counted.

    Attributes:
        column: What says where a conversation goes: its domain, which a corpus entry's ``domain`` sets.
        map: The source (or ``pivot``) for each domain.
    """

    method: Literal["route"] = "route"
    column: Literal["domain"] = "domain"
    map: dict[str, str] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.map:
            raise ValueError("map must name a source for at least one domain")

    def weigh(self, units: Units) -> Float[np.ndarray, "M U"]:
        """1 for the model of the unit's domain, 0 for the others."""
        place = {name: i for i, name in enumerate(units.names)}
        chosen_U = np.array([place.get(self.map.get(one, PIVOT), 0) for one in units.domains], np.int64)
        return (np.arange(len(units.names))[:, None] == chosen_U).astype(np.float32)

    def to_pivot(self, units: Units) -> Mapping[str, int]:
        """Conversations of domains without a model, and of models that are not fused here."""
        counts = Counter[str]()
        for domain in units.domains:
            model = self.map.get(domain)
            if model is None:
                counts[f"domain {domain!r} is not in fuse.map" if domain else "no domain"] += 1
            elif model not in units.names:
                counts[f"{model} is not fused here"] += 1
        return dict(sorted(counts.items()))

    @property
    def models(self) -> dict[str, str]:
        """The models of the map, and those with a temperature."""
        return super().models | {f"map.{domain}": model for domain, model in self.map.items()}

    @property
    def domains(self) -> Sequence[str]:
        """The domains of the map."""
        return tuple(self.map)
