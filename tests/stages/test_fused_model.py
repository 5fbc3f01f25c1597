"""The choice among label weights, and the fused model."""

import json
from pathlib import Path

import pytest

from fusionchat.artifacts import write_json
from fusionchat.run.job import Inputs, Job
from fusionchat.settings import Frozen
from fusionchat.stages.fused_model import Finish, Select, finish, kept_recipe, recipe_yaml, select, selected
from fusionchat.yaml import parse_value
from tests.stages.recipes import evaluated, recipe


def inputs(folder: Path, *needs: str) -> Inputs:
    return Inputs(folder, Job(stage="merge", name="x", version=1, settings=Frozen(), needs=needs))


@pytest.mark.parametrize(("bits", "best"), [((1.0, 0.5), 0.5), ((0.5, 1.0), 0.9), ((0.5, 0.5), 0.9)])
def test_the_label_weight_with_the_least_bits_is_taken_ties_to_the_recipe_s(tmp_path, bits, best):
    needs = [evaluated(tmp_path, weight, value) for weight, value in zip(("0.9", "0.5"), bits, strict=True)]
    (tmp_path / "out").mkdir()
    summary = select(
        Select(label_weights=(0.9, 0.5), compared="varm"), inputs(tmp_path, *needs), tmp_path / "out"
    )
    assert summary == {"label_weight": best, "trials": {"0.9": bits[0], "0.5": bits[1]}}
    assert selected(tmp_path / "out") == (best, {"0.9": bits[0], "0.5": bits[1]})


def test_without_a_sweep_nothing_is_compared(tmp_path):
    assert select(Select(label_weights=(0.9,), compared=None), inputs(tmp_path), tmp_path) == {
        "label_weight": 0.9,
        "trials": {},
    }


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
