"""The memory of a training by its sizes; `benchmarks.plan_memory` measures it."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fusionchat.distill.footprint import NF4, Shape, footprint
from fusionchat.distill.lora import with_factors
from fusionchat.distill.settings import TrainingSettings
from fusionchat.distill.trainable import LoraSettings
from fusionchat.models.ref import ModelRef

CONFIG = {
    "vocab_size": 400, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
SHAPE = Shape.of_config(CONFIG)
PASS = {"tokens": 100, "rows": 60}
STATES = ("frozen", "trained", "gradients", "optimizer")


def model(**more):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**CONFIG | more))


def states(how, **more):
    found = footprint(SHAPE, TrainingSettings(**how), **PASS, **more)
    return [getattr(found, name) for name in STATES]


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_the_model_s(tied):
    shape = Shape.of_config(CONFIG | {"tie_word_embeddings": tied})
    own = model(tie_word_embeddings=tied)
    assert shape.size == own.num_parameters() - 64  # the last norm
    with_factors(own, LoraSettings(r=4), ModelRef("pivot", ".", "."), seed=0)
    assert shape.factors(4) == sum(p.numel() for p in own.parameters() if p.requires_grad)


def test_other_names_and_places_of_the_sizes():
    gpt = {"vocab_size": 400, "n_embd": 64, "n_layer": 3, "n_head": 4}
    assert Shape.of_config(gpt) == Shape(64, 64, 64, 256, 3, 400, False)
    assert Shape.of_config({"text_config": CONFIG}, parameters=7) == SHAPE._replace(parameters=7)
    experts = Shape.of_config(CONFIG | {"num_experts_per_tok": 2, "head_dim": 32})
    assert (experts.inner, experts.attention, experts.keys) == (320, 128, 64)
    assert Shape.of_config({"hidden_size": 64}) is None


def test_states_by_precision_and_optimizer():
    n = SHAPE.size
    assert states({"precision": "fp32"}) == [0, 4 * n, 4 * n, 8 * n]
    assert states({"precision": "bf16"}) == [0, 8 * n, 4 * n, 8 * n]
    assert states({"precision": "bf16_weights", "optim": "adamw_bnb_8bit"}) == pytest.approx(
        [0, 4 * n, 2 * n, 2.1 * n]
    )
    assert states({"precision": "fp32"}, ranks=4, sharded=True) == [0, n, n, 2 * n]
    assert states({"precision": "fp32"}, ranks=4) == [0, 4 * n, 4 * n, 8 * n]


def test_frozen_weights_by_what_they_are_held_in():
    f, layers, outside = SHAPE.factors(8), SHAPE.size - SHAPE.outside, SHAPE.outside
    for train, precision, width in (("lora", "fp32", 4.0), ("lora", "bf16", 2.0), ("qlora", "bf16", NF4)):
        how = {"train": {train: {"r": 8}}, "precision": precision}
        assert states(how)[0] == pytest.approx(width * layers + 4 * outside)
        assert states(how)[2:] == [4 * f, 8 * f]


@pytest.mark.parametrize("half", [False, True])
def test_activations_are_what_autograd_saves_of_a_layer(half):
    """Beside the weights, their bf16 copies and what depends on the mask."""
    saved = [kept_of(model(num_hidden_layers=count), 100, half) for count in (1, 2)]
    how = TrainingSettings(precision="bf16" if half else "fp32")
    counts = [footprint(SHAPE._replace(layers=count), how, **PASS).activations for count in (1, 2)]
    assert counts[1] - counts[0] == pytest.approx(saved[1] - saved[0], rel=0.05)


def kept_of(one, tokens, half):
    weights = {p.numel() for p in one.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if tensor.numel() not in weights and tensor.shape[-2:] != (tokens, tokens):
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        one.model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
    return sum(size for size, _ in kept.values())


def test_checkpointing_keeps_one_layer_and_the_others_inputs():
    plain, saving = (
        footprint(SHAPE, TrainingSettings(precision="fp32"), **PASS, checkpointing=on).activations
        for on in (False, True)
    )
    each = 4 * 100 * (6 * 64 + 4 * 64 + 4 * 160)
    assert plain - saving == 2 * each - 3 * 4 * 64 * 100


def test_the_most_is_of_the_forward_passes_end_or_the_step_s():
    small = footprint(SHAPE, TrainingSettings(precision="fp32"), tokens=1, rows=1)
    held = 16 * SHAPE.size
    assert (
        small.total == held + 2 * 4 * SHAPE.embedding
    )  # the gradients of head and embedding, which are one weight's
    large = footprint(SHAPE, TrainingSettings(precision="fp32"), tokens=10**5, rows=1)
    assert large.total == held + large.activations + large.loss
