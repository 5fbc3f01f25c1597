"""The fused model is the chosen merge, with its recipe."""

import json

import pytest

from fusionchat.artifacts import write_json
from fusionchat.stages.fused_model import Finish, finish, kept_recipe, recipe_yaml
from fusionchat.yaml import parse_value
from tests.stages.recipes import inputs, recipe


@pytest.mark.parametrize(("search", "made"), [(None, "merge/varm@0.5"), ({}, "merge/search")])
def test_the_fused_model_is_the_chosen_merge_with_the_recipe(tmp_path, search, made):
    selection, model = tmp_path / "merge/selection", tmp_path / made / "model"
    for folder in (selection, model / "deep"):
        folder.mkdir(parents=True)
    write_json(selection / "selection.json", {"label_weight": 0.5, "trials": {}})
    for name in ("model.safetensors", "config.json", "deep/file"):
        (model / name).write_text(name)
    own = recipe(seed=7, **({"search": search} if search is not None else {}))
    out = tmp_path / "merge/fused"
    assert finish(Finish(merge="varm", recipe=own), inputs(tmp_path, "merge/selection", made), out) == {
        "label_weight": 0.5
    }
    written = {
        path.relative_to(out / "model").as_posix() for path in (out / "model").rglob("*") if path.is_file()
    }
    assert written == {"model.safetensors", "config.json", "deep/file", "fusionchat_recipe.yaml"}
    weights = out / "model/model.safetensors"
    assert weights.stat().st_ino == (model / "model.safetensors").stat().st_ino  # not copied
    assert (out / "model/config.json").stat().st_ino != (model / "config.json").stat().st_ino
    assert parse_value((out / "model/fusionchat_recipe.yaml").read_text(), where="")["seed"] == 7


def test_how_the_work_is_done_is_not_kept():
    kept = kept_recipe(recipe(runtime={"threads": 3}, output="elsewhere"))
    assert "runtime" not in kept and "output" not in kept and kept["distill"]["epochs"] == 3
    assert parse_value(recipe_yaml(recipe(seed=3)), where="") == kept_recipe(recipe(seed=3))
    assert json.loads(Finish(merge="varm", recipe=recipe()).model_dump_json())["recipe"] == kept_recipe(
        recipe()
    )
