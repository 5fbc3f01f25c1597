"""The choice among label weights, and the fused model: the chosen merge, with recipe and card."""

import json
import os
import shutil
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import PlainSerializer

from fusionchat.artifacts import Json, write_json, write_text
from fusionchat.damage import verified, verified_folder
from fusionchat.evaluate.scores import read_scores
from fusionchat.evaluate.tasks import PRIMARY
from fusionchat.recipe.schema import Recipe
from fusionchat.run.job import Inputs, Summary
from fusionchat.settings import Frozen
from fusionchat.stages.names import SEARCH, SELECTION, Row, Trained, evaluated, merged
from fusionchat.units import weight_text
from fusionchat.yaml import to_yaml


def kept_recipe(recipe: Recipe) -> dict[str, Json]:
    """The recipe as it is kept beside a model and in the report: defaults included, without ``runtime``."""
    value: dict[str, Json] = json.loads(recipe.model_dump_json(exclude={"runtime", "output"}))
    return value


def recipe_yaml(recipe: Recipe) -> str:
    """The kept recipe as YAML."""
    return to_yaml(kept_recipe(recipe))


KeptRecipe = Annotated[Recipe, PlainSerializer(kept_recipe, return_type=dict)]


class Select(Frozen):
    """The choice among label weights.

    Attributes:
        label_weights: Those to choose among, the recipe's own first.
        compared: The merge by which they are compared on validation; None where there is nothing to choose.
    """

    kind: Literal["selection"] = "selection"
    label_weights: tuple[float, ...]
    compared: str | None


class Finish(Frozen):
    """The fused model.

    Attributes:
        merge: The name of the recipe's own merge.
        recipe: All of the recipe but how the work is done: it is put beside the model.
    """

    kind: Literal["fused"] = "fused"
    merge: str
    recipe: KeptRecipe


class Selection(NamedTuple):
    """The label weight that was best on validation, and the bits per byte of each that was tried."""

    label_weight: float
    trials: dict[str, float]


def select(settings: Select, inputs: Inputs, out: Path) -> Summary:
    """Take the label weight whose merge has the least bits per byte on the validation part; ties to the first."""
    trials: dict[str, float] = {}
    for weight in settings.label_weights if settings.compared else ():
        row = Row(kind="merge", base=settings.compared or "", weight=weight)
        scores = read_scores(verified_folder(inputs.folder(evaluated("validation", row))))
        trials[weight_text(weight)] = scores.estimate(PRIMARY).value
    best = min(settings.label_weights, key=lambda weight: PRIMARY.loss(trials.get(weight_text(weight), 0.0)))
    write_json(out / "selection.json", {"label_weight": best, "trials": trials})
    return {"label_weight": best, "trials": {k: round(v, 6) for k, v in trials.items()}}


def selected(folder: Path) -> Selection:
    """What a finished selection chose, from its folder."""
    raw = json.loads(verified(folder / "selection.json").read_text())
    return Selection(float(raw["label_weight"]), {k: float(v) for k, v in raw["trials"].items()})


def finish(settings: Finish, inputs: Inputs, out: Path) -> Summary:
    """Put the chosen merge into ``model/`` (hard links where they can be), with the recipe."""
    weight = selected(inputs.folder(SELECTION)).label_weight
    made = SEARCH if settings.recipe.search else merged(Trained(base=settings.merge, weight=weight))
    chosen = inputs.folder(made) / "model"
    # Weights first: a link changes their inode, and the merge's report of their checksums has to be younger than they are.
    files = [p for p in verified_folder(chosen).rglob("*") if p.is_file()]
    for source in sorted(files, key=lambda p: (p.suffix != ".safetensors", p)):
        target = out / "model" / source.relative_to(chosen)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if source.suffix == ".safetensors":
            _link(source, target)
        else:
            shutil.copyfile(source, target)
    write_text(out / "model" / "fusionchat_recipe.yaml", recipe_yaml(settings.recipe))
    return {"label_weight": weight}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
