"""Figures as text: one way to write a value, its error, a share, a count and a time, in every table."""

from collections.abc import Iterable

from fusionchat.evaluate.noise import Gain
from fusionchat.evaluate.statistics import Estimate
from fusionchat.report.model import Metric, Report

Figure = Estimate | Gain
NONE = "-"
SCALE: dict[Metric, float] = {"bits_per_byte": 1.0, "exact_match": 100.0}
NAME: dict[Metric, str] = {"bits_per_byte": "bits per byte", "exact_match": "exact match"}
UNIT: dict[Metric, str] = {"bits_per_byte": "bits/byte", "exact_match": "%"}
BETTER: dict[Metric, str] = {"bits_per_byte": "lower is better", "exact_match": "higher is better"}


def decimals(estimates: Iterable[Figure | None], metric: Metric) -> int:
    """Decimals for a column: enough that its typical standard error keeps a digit, 1 for percentages."""
    if metric == "exact_match":
        return 1
    errors = sorted(e.se for e in estimates if e is not None and e.se)
    return 4 if errors and errors[len(errors) // 2] < 0.002 else 3


def estimate(value: Figure | None, metric: Metric, places: int, *, signed: bool = False) -> str:
    """``0.564 ±0.003``; a dash where there is nothing, ``±?`` where the error is unknown."""
    if value is None:
        return NONE
    number = f"{value.value * SCALE[metric]:{'+' if signed else ''}.{places}f}"
    error = "?".rjust(places + 2) if value.se is None else f"{value.se * SCALE[metric]:.{places}f}"
    return f"{number} ±{error}"


def percent(share: float | None, places: int = 1) -> str:
    """A share as a percentage."""
    return NONE if share is None else f"{100 * share:.{places}f} %"


def count(number: int | None) -> str:
    """A number of parameters or tokens with three digits: ``943 K``, ``1.05 M``, ``7.24 B``."""
    if number is None:
        return NONE
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            value = number / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return str(number)


def noise(report: Report) -> str:
    """Where the training noise in the errors of gains is known from."""
    once = report.seeds == 1
    if report.sft_seeds > 1:
        sft = f"{report.sft_seeds} seeds of SFT"
        return f"the spread of {sft}" if once else f"the spread of {sft} and of {report.seeds} of each target"
    return "" if once else f"the spread of {report.seeds} seeds of each target"
