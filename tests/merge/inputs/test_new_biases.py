"""Biases that the pivot's structure has a switch for."""

import numpy as np
import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.new_biases import Zeros, add_biases
from tests.merge.inputs.sources import Memory, numbered, read
from tests.merge.models import SIZE

LLAMA = {"model_type": "llama", **SIZE, "num_hidden_layers": 1}
BIAS = "model.layers.0.self_attn.q_proj.bias"


def tensors():
    """What a Llama of one layer stores, by name."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        held = AutoModelForCausalLM.from_config(AutoConfig.for_model(**LLAMA)).state_dict()
    return {name: Memory(np.zeros(tuple(tensor.shape), np.float32)) for name, tensor in held.items()}


def test_zeros_are_zeros():
    zeros = Zeros((2, 3), "the pivot")
    assert (read(zeros, 2) == 0).all() and zeros.is_float and zeros.origin == "the pivot"
    zeros.read_ahead(0)
    zeros.release()
    with pytest.raises(AssertionError):
        zeros.decode(4, np.empty(3, np.float32))


def test_the_switch_s_other_biases_are_zero():
    """``attention_bias`` gives q, k, v and o one each; the first target has q's, the pivot none."""
    inputs, bias = [tensors(), tensors()], numbered(32, 1)
    bias.values = bias.values.reshape(-1)
    config = add_biases(inputs, [{}, {BIAS: bias}], LLAMA, "the pivot")
    assert config == {**LLAMA, "attention_bias": True}
    new = [f"model.layers.0.self_attn.{one}_proj.bias" for one in "koqv"]
    before = tensors()
    for held in inputs:
        assert sorted(held.keys() - before.keys()) == new
    assert inputs[1][BIAS] is bias and inputs[0][BIAS] == Zeros((32,), "the pivot")
    assert inputs[1][new[0]] == Zeros((16,), "the pivot")


def test_without_new_biases_nothing_changes():
    inputs = [{"w": numbered(1, 1)}]
    assert add_biases(inputs, [{}], {"a": 1}, "x") == {"a": 1} and list(inputs[0]) == ["w"]


@pytest.mark.parametrize("config", [LLAMA, {"model_type": "of my own"}])
def test_a_bias_without_a_place_is_refused_by_name(config):
    wrong = {"model.layers.0.input_layernorm.bias": numbered(32, 1)}
    with pytest.raises(MergeError, match=r"input_layernorm\.bias is not in the pivot"):
        add_biases([tensors()], [wrong], config, "the pivot")
