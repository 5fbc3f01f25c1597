"""Pivot and targets opened, and their tensors under the pivot's names."""

from contextlib import ExitStack

import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.models import open_models, reconcile
from tests.merge.folders import adapter, family, random_tensors, save


def test_models_come_in_order_with_the_pivot_first(tmp_path):
    pivot, targets = family(tmp_path, 2)
    with ExitStack() as stack:
        opened = open_models(stack, pivot, targets)
        assert [model.name for model in opened.models] == ["pivot", "t0", "t1"] == ["pivot", *opened.names]
        assert [model.folder for model in opened.models] == [pivot, *targets.values()]
        assert all(model.checkpoint is not None and model.tensors == {} for model in opened.targets)
        made = reconcile(opened)
        assert [list(model.tensors) for model in made.models] == [list(made.base.tensors)] * 3
        assert made.config == opened.config and all(model.biases == {} for model in made.models)
        sources = [model.tensors["model.norm.weight"].origin for model in made.models]
        assert [source.split("/")[-2] for source in sources] == [pivot.name, "t0", "t1"]


def test_an_adapter_has_the_pivots_tensors_and_its_own(tmp_path):
    pivot = save(tmp_path / "pivot", random_tensors(0))
    name = "base_model.model.model.layers.0.mlp.up_proj"
    factors = {f"{name}.lora_A.weight": torch.randn(2, 16), f"{name}.lora_B.weight": torch.randn(40, 2)}
    with ExitStack() as stack:
        made = reconcile(open_models(stack, pivot, {"lora": adapter(tmp_path / "lora", factors)}))
        (lora,) = made.targets
        assert lora.checkpoint is None and len(lora.files) == 1
        changed = [n for n, tensor in lora.tensors.items() if tensor is not made.base.tensors[n]]
        assert changed == ["model.layers.0.mlp.up_proj.weight"]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    pivot, _ = family(tmp_path, 1)
    with ExitStack() as stack, pytest.raises(MergeError, match="does not exist"):
        open_models(stack, pivot, {"t": tmp_path / "nothing"})
