"""The demo's recipe is written beside what it reads."""

import pytest

from fusionchat.demo import make
from fusionchat.demo.prepare import prepare
from fusionchat.recipe.schema import load_recipe


@pytest.mark.parametrize("seed", [0, 3])
def test_the_recipe_names_the_output_and_the_seed(tmp_path, monkeypatch, seed):
    asked = []

    def made(folder, *, seed, scale, progress):
        asked.append((folder, seed, scale))
        folder.mkdir(parents=True)

    monkeypatch.setattr(make, "make_demo", made)
    path = prepare(tmp_path / "runs", seed=seed, scale=0.5)
    assert asked == [(tmp_path / "runs/demo/input", seed, 0.5)] and path == tmp_path / "runs/demo/recipe.yaml"
    recipe = load_recipe(path)
    assert (recipe.seed, recipe.name, recipe.run_folder) == (seed, "demo", tmp_path / "runs/demo")
