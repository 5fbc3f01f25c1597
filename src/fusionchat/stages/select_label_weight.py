"""The choice among label weights: the one whose merge is best on the validation part."""

import json
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from fusionchat.artifacts import write_json
from fusionchat.damage import verified, verified_folder
from fusionchat.evaluate.scores import read_scores
from fusionchat.evaluate.tasks import PRIMARY
from fusionchat.run.job import Inputs, Summary
from fusionchat.settings import Grown
from fusionchat.stages.names import Row, evaluated
from fusionchat.units import weight_text


class Select(Grown):
    """The choice among label weights.

    Attributes:
        label_weights: The label weights to choose among, the recipe's own first.
        compared: The merge by which they are compared on validation; None if there is no choice.
        round: The round of these merges.
    """

    later: ClassVar[tuple[str, ...]] = ("round",)
    kind: Literal["selection"] = "selection"
    label_weights: tuple[float, ...]
    compared: str | None
    round: int = 1


class Selection(NamedTuple):
    """The label weight that was best on validation, and the bits per byte of each that was tried."""

    label_weight: float
    trials: dict[str, float]


def select(settings: Select, inputs: Inputs, out: Path) -> Summary:
    """Choose the label weight whose merge has the least validation bits per byte; ties to the first."""
    trials: dict[str, float] = {}
    for weight in settings.label_weights if settings.compared else ():
        row = Row(kind="merge", base=settings.compared or "", weight=weight, round=settings.round)
        scores = read_scores(verified_folder(inputs.folder(evaluated("validation", row))))
        trials[weight_text(weight)] = scores.estimate(PRIMARY).value
    best = min(settings.label_weights, key=lambda weight: PRIMARY.loss(trials.get(weight_text(weight), 0.0)))
    write_json(out / "selection.json", {"label_weight": best, "trials": trials})
    return {"label_weight": best, "trials": {k: round(v, 6) for k, v in trials.items()}}


def selected(folder: Path) -> Selection:
    """What a finished selection chose, from its folder."""
    raw = json.loads(verified(folder / "selection.json").read_text())
    return Selection(float(raw["label_weight"]), {k: float(v) for k, v in raw["trials"].items()})
