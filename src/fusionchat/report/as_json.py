"""A report in the form of report.json."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from fusionchat.artifacts import Json
from fusionchat.evaluate.metric import Estimator
from fusionchat.evaluate.noise import Gain, Gains
from fusionchat.evaluate.statistics import Breakdown, Estimate
from fusionchat.evaluate.t_distribution import degrees
from fusionchat.report.model import Over, Report, Result

FORMAT_VERSION = 2


def to_json(value: object) -> Json:
    """Dataclasses and named tuples as objects, other sequences as arrays; raises for other types."""
    if isinstance(value, Estimator):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Estimate | Breakdown | Gain | Gains | Result):
        return {name: to_json(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): to_json(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in value]
    assert value is None or isinstance(value, str | int | float | bool), f"not for JSON: {type(value)}"
    return value


def report_json(report: Report) -> dict[str, Json]:
    """The report as the object written to ``report.json``."""
    value = to_json(report)
    assert isinstance(value, dict)
    return {"format": FORMAT_VERSION, **value, "headline": headline_json(report)}


def headline_json(report: Report) -> dict[str, Json]:
    """The fused model's gains over SFT and its soup in the metric that a run is judged by, or null.

    ``se_*`` contain the sampling of conversations and the training noise; the 95 % interval reaches ``t_*``
    of them to either side, which is Student's t at ``df_*`` degrees of freedom.
    """
    row = report.row(report.fused)
    metric = report.primary
    found: dict[str, Json] = {
        "row": report.fused,
        "metric": metric.name if metric else None,
        "sft_seeds": report.sft_seeds,
        "seeds": report.seeds,
    }
    sides: tuple[Over, ...] = ("sft", "soup")
    for over in sides:
        gains = row.gain(metric, over) if row and metric else None
        gain = None if gains is None else gains.overall
        known = gain is not None and gain.t is not None
        found |= {
            f"over_{over}": gain.value if gain else None,
            f"se_{over}": gain.se if gain and known else None,
            f"sampling_se_{over}": gain.sampling_se if gain else None,
            f"training_se_{over}": gain.training_se if gain else None,
            f"t_{over}": gain.t if gain else None,
            f"df_{over}": degrees(gain.t) if gain and gain.t is not None else None,
            f"interval_{over}": to_json(gain.interval) if gain else None,
            f"clear_{over}": gain.is_clear if gain else None,
        }
    return found
