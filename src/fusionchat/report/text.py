"""Figures as text: one way to write a value, its error, a share, a count and a time, in every table."""

from collections.abc import Iterable

from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.noise import Gain
from fusionchat.evaluate.statistics import Estimate
from fusionchat.report.model import Report

Figure = Estimate | Gain
NONE = "-"


def decimals(estimates: Iterable[Figure | None], metric: Metric) -> int:
    """Decimals for a column: the metric's, and one more if its typical standard error would need it."""
    errors = sorted(e.se * metric.scale for e in estimates if e is not None and e.se)
    small = bool(errors) and errors[len(errors) // 2] < 2 * 10.0**-metric.places
    return metric.places + small


def estimate(value: Figure | None, metric: Metric, places: int, *, signed: bool = False) -> str:
    """``0.564 ±0.003``; a dash for nothing, ``±?`` for an unknown error."""
    if value is None:
        return NONE
    number = f"{value.value * metric.scale:{'+' if signed else ''}.{places}f}"
    error = "?".rjust(places + 2) if value.se is None else f"{value.se * metric.scale:.{places}f}"
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
    """Where the training noise in the errors of gains comes from."""
    once = report.seeds == 1
    if report.sft_seeds > 1:
        sft = f"{report.sft_seeds} seeds of SFT"
        return f"the spread of {sft}" if once else f"the spread of {sft} and of {report.seeds} of each target"
    return "" if once else f"the spread of {report.seeds} seeds of each target"
