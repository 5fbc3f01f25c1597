"""Costs before anything has run."""

import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from fusionchat.estimate import capture_cost, parameters, training_cost
from fusionchat.models import ModelRef, resolve
from fusionchat.recipe import load_recipe


def test_parameters_are_counted_from_headers(tiny):
    refs = resolve(load_recipe("recipe.yaml"))
    tensors = load_file(tiny / "input/models/mixtral/model.safetensors")
    assert parameters(refs["mixtral"]) == sum(t.size for t in tensors.values())
    assert parameters(ModelRef("x", "org/name", "org/name")) is None


def test_only_the_models_own_weights_are_counted(tmp_path):
    ref = ModelRef("m", str(tmp_path), str(tmp_path))
    assert parameters(ref) is None
    torch.save({"w": torch.ones(3, 4)}, tmp_path / "pytorch_model.bin")
    assert parameters(ref) == 12
    for name, size in (("model-00001-of-00002", 5), ("model-00002-of-00002", 6), ("consolidated", 100)):
        save_file({name: torch.ones(size)}, tmp_path / f"{name}.safetensors")
    assert parameters(ref) == 11


def test_costs_follow_from_parameters_and_corpus(tiny):
    recipe = load_recipe("recipe.yaml", ("distill.epochs=2",))
    refs = resolve(recipe)
    size = (tiny / "input/corpus/train.jsonl").stat().st_size
    count = parameters(refs["pivot"])
    assert capture_cost(recipe, refs["pivot"]).flops == 2 * count * size / 4
    assert training_cost(recipe, refs["pivot"]).flops == 2 * 6 * count * size / 4
    unknown = capture_cost(recipe, ModelRef("x", "org/name", "org/name"))
    assert unknown.flops is None and unknown.disk > 0
