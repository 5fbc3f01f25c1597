"""The fused model: the chosen merge, with the recipe that made it."""

import json
import os
import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import PlainSerializer

from fusionchat.artifacts import Json, write_text
from fusionchat.damage import verified_folder
from fusionchat.recipe.schema import Recipe
from fusionchat.run.job import Inputs, Summary
from fusionchat.settings import Frozen
from fusionchat.stages.names import SEARCH, SELECTION, Trained, merged
from fusionchat.stages.select_label_weight import selected
from fusionchat.yaml import to_yaml


def kept_recipe(recipe: Recipe) -> dict[str, Json]:
    """The recipe as saved with a model and in the report: with defaults, without ``runtime``."""
    value: dict[str, Json] = json.loads(recipe.model_dump_json(exclude={"runtime", "output"}))
    return value


def recipe_yaml(recipe: Recipe) -> str:
    """The kept recipe as YAML."""
    return to_yaml(kept_recipe(recipe))


KeptRecipe = Annotated[Recipe, PlainSerializer(kept_recipe, return_type=dict)]


class Finish(Frozen):
    """The fused model.

    Attributes:
        merge: The name of the recipe's own merge.
        recipe: The whole recipe except how the work is done; it is saved beside the model.
    """

    kind: Literal["fused"] = "fused"
    merge: str
    recipe: KeptRecipe


def finish(settings: Finish, inputs: Inputs, out: Path) -> Summary:
    """Write the chosen merge into ``model/`` (with hard links if possible), with the recipe."""
    weight = selected(inputs.folder(SELECTION)).label_weight
    last = Trained(base=settings.merge, weight=weight, round=settings.recipe.rounds.n)
    made = SEARCH if settings.recipe.search else merged(last)
    chosen = inputs.folder(made) / "model"
    # Weights first: a link changes their inode, and the merge's report of their checksums must be younger than they are.
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
