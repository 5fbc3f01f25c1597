# I items, R trainings that differ in their seeds alone
"""`Metric`: what a task measures, as a value. PURE.

Each is declared in its task's file in `tasks/`; tables, plots, card and JSON of a report iterate over them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fusionchat.evaluate.noise import Gains, Side, paired
from fusionchat.evaluate.statistics import (
    Breakdown,
    Estimate,
    break_down,
    proportion,
    proportion_gain,
    ratio,
    sized,
)

Values = Float[np.ndarray, " I"]
Sizes = Float[np.ndarray, " I"] | Int[np.ndarray, " I"]


class Estimator(NamedTuple):
    """How items become one figure with a standard error.

    Attributes:
        name: Its name in JSON.
        value: The estimate of values and sizes.
        difference: The paired difference of the first values minus the second, which share their sizes.
        own: What a gain of 1 adds to the variance of one item's difference: 1 for items that are right or
            wrong.
    """

    name: str
    value: Callable[[Values, Sizes], Estimate]
    difference: Callable[[Values, Values, Sizes], Estimate]
    own: float = 0.0


def _ratio_difference(first_I: Values, second_I: Values, sizes_I: Sizes) -> Estimate:
    return ratio(first_I.astype(np.float64) - second_I.astype(np.float64), sizes_I)


RATIO = Estimator("ratio", ratio, _ratio_difference)
"""The sum of the values over the sum of the sizes, see `ratio`; with sizes of 1 the mean."""
SHARE = Estimator(
    "share",
    lambda values_I, _: proportion(values_I),
    lambda first_I, second_I, _: proportion_gain(first_I, second_I),
    own=1.0,
)
"""The mean of values from 0 to 1, most of them 0 or 1, see `proportion` and `proportion_gain`."""


@dataclass(frozen=True)
class Metric:
    """One figure of a model.

    Attributes:
        name: Its name in the recipe and in JSON.
        title: Its name for readers.
        unit: The unit that it is shown in; the title, if that says it.
        better: The direction that is better.
        estimator: How items become the figure.
        scale: The factor by which the shown figure is multiplied; 100 for percent.
        places: Decimals that it is shown with; one more if its standard error is smaller than two units of
            the last.
        about: What it measures, for captions; "" for the unit.
        floor: If the pivot's figure is below it, the task is too hard to show a difference, and is ignored in
            comparisons.
    """

    name: str
    title: str
    unit: str
    better: Literal["lower", "higher"]
    estimator: Estimator
    scale: float = 1.0
    places: int = 3
    about: str = ""
    floor: float = 0.0

    @property
    def direction(self) -> str:
        """``lower is better``."""
        return f"{self.better} is better"

    @property
    def column(self) -> str:
        """The title with the unit, unless the title says it: ``exact match (%)``."""
        return self.title if self.unit == self.title else f"{self.title} ({self.unit})"

    @property
    def gained(self) -> str:
        """The unit of gains: ``bits per byte saved``, ``percentage points``."""
        if self.unit == "%":
            return "percentage points"
        return f"{self.unit} saved" if self.better == "lower" else self.unit

    @property
    def caption(self) -> str:
        """What it measures: ``Percent``."""
        return self.about or ("Percent" if self.unit == "%" else capital(self.unit))

    def loss(self, value: float) -> float:
        """The value as a loss, of which less is better."""
        return value if self.better == "lower" else -value

    def breakdown(self, values_I: Values, sizes_I: Sizes, domains: Sequence[str]) -> Breakdown:
        """The estimate over all items and over each domain's; a domain without size has none."""
        named = sized(domains, sizes_I)
        return Breakdown(*break_down(named, lambda rows: self.estimator.value(values_I[rows], sizes_I[rows])))

    def gains(self, model: Side, baseline: Side, sizes_I: Sizes, domains: Sequence[str]) -> Gains:
        """The gain of a model over the baseline on the same items, positive if it is better, see `paired`."""
        difference = self.estimator.difference
        flipped = partial(_flipped, difference)
        chosen = difference if self.better == "higher" else flipped
        return paired(model, baseline, sizes_I, domains, chosen)


def _flipped(
    difference: Callable[[Values, Values, Sizes], Estimate], ours_I: Values, theirs_I: Values, sizes_I: Sizes
) -> Estimate:
    return difference(theirs_I, ours_I, sizes_I)


def capital(text: str) -> str:
    """The text with a capital at its start, the rest as it is."""
    return text[:1].upper() + text[1:]
