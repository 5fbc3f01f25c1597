"""Biases that the pivot's structure has a switch for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.lora import Adapter
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.models import Family, OpenModel
from fusionchat.merge.inputs.new_biases import add_biases
from fusionchat.merge.inputs.zeros import Zeros
from tests.merge.inputs.sources import Memory, numbered
from tests.merge.models import SIZE

LLAMA = {"model_type": "llama", **SIZE, "num_hidden_layers": 1}
BIAS = "model.layers.0.self_attn.q_proj.bias"


def tensors():
    """What a Llama of one layer stores, by name."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        held = AutoModelForCausalLM.from_config(AutoConfig.for_model(**LLAMA)).state_dict()
    return {name: Memory(np.zeros(tuple(tensor.shape), np.float32)) for name, tensor in held.items()}


def family(pivot, biases, config):
    """A pivot, and an adapter of it for each mapping of biases."""
    base = Checkpoint(Path("the pivot"), pivot, config)
    adapters = [Adapter([], None, {}, None, one) for one in biases]
    targets = tuple(OpenModel(f"t{n}", Path(), one, dict(pivot)) for n, one in enumerate(adapters))
    return Family(base, targets, OpenModel("pivot", Path(), base, dict(pivot)), config, None, None)


def test_the_switch_s_other_biases_are_zero():
    """``attention_bias`` gives q, k, v and o one each; the first target has q's, the pivot none."""
    bias, before = numbered(32, 1), tensors()
    bias.values = bias.values.reshape(-1)
    made = add_biases(family(before, [{BIAS: bias}], LLAMA))
    assert made.config == {**LLAMA, "attention_bias": True}
    new = [f"model.layers.0.self_attn.{one}_proj.bias" for one in "koqv"]
    for model in made.models:
        assert sorted(model.tensors.keys() - before.keys()) == new
    assert made.targets[0].tensors[BIAS] is bias
    assert made.pivot.tensors[BIAS] == Zeros((32,), "the pivot")
    assert made.targets[0].tensors[new[0]] == Zeros((16,), "the pivot")


def test_without_new_biases_nothing_changes():
    given = family({"w": numbered(1, 1)}, [{}], {"a": 1})
    assert add_biases(given) is given


@pytest.mark.parametrize("config", [LLAMA, {"model_type": "of my own"}])
def test_a_bias_without_a_place_is_refused_by_name(config):
    wrong = {"model.layers.0.input_layernorm.bias": numbered(32, 1)}
    with pytest.raises(MergeError, match=r"input_layernorm\.bias is not in the pivot"):
        add_biases(family(tensors(), [wrong], config))
