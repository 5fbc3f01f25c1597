"""Weights that are elsewhere until they are needed."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fusionchat.models.head import Head
from fusionchat.models.offloaded import device_of, hook_of, input_device, is_placed, lent
from fusionchat.models.opening import Opening
from tests.models.placed import CPU, IDS, logits, opened, ref


@pytest.mark.parametrize(
    "opening",
    [
        Opening(device_map={"": "cpu"}),
        Opening(device_map="auto"),
        Opening(device_map="auto", max_memory={"cpu": "1200KB"}),
        Opening(device_map={"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu",
                            "model.rotary_emb": "cpu", "lm_head": "cpu"}),
    ],
)  # fmt: skip
def test_a_spread_model_gives_the_same_logits_and_its_head_is_lent(small, opening):
    plain = Head.of(opened(ref(small / "m")))
    model = opened(ref(small / "m"), opening)
    assert torch.equal(logits(model), logits(plain.model))
    head = Head.of(model)
    mask = torch.ones_like(IDS)
    hidden = head.hidden(IDS.to(head.device), mask.to(head.device))[0]
    assert torch.equal(hidden, plain.hidden(IDS, mask)[0])
    assert torch.equal(head.logits(hidden), plain.logits(hidden))
    tiles = [part.clone() for _, _, part in head.tiles(hidden)]
    assert all(torch.equal(a, b.logits) for a, b in zip(tiles, plain.tiles(hidden), strict=True))
    assert device_of(head.linear) == CPU
    if head.weight.is_meta:
        assert head.model.get_output_embeddings().weight.is_meta  # it was taken away again


class Hook:
    """A hook that brings weights from afar."""

    def __init__(self, offload=True, execution_device="cpu"):
        self.offload, self.execution_device, self.seen = offload, execution_device, []

    def pre_forward(self, module):
        self.seen.append("brought")
        module.weight = nn.Parameter(torch.ones(2, 3))

    def post_forward(self, module, output):
        self.seen.append("taken away")
        module.weight = nn.Parameter(torch.ones(2, 3, device="meta"))


def linear(hook):
    made = nn.Linear(3, 2, device="meta")
    made._hf_hook = hook
    return made


def test_weights_are_there_while_they_are_lent():
    hook = Hook()
    module = linear(hook)
    with lent(module) as held:
        assert not held.weight.is_meta and held.bias is module.bias
    assert module.weight.is_meta and hook.seen == ["brought", "taken away"]
    with pytest.raises(ValueError, match="x"), lent(module):
        raise ValueError("x")
    assert hook.seen[2:] == ["brought", "taken away"]


def test_weights_that_stay_are_lent_as_they_are():
    hook = Hook(offload=False)
    for module in (linear(hook), nn.Linear(3, 2)):
        with lent(module) as held:
            assert held.weight is module.weight
    assert hook.seen == []


def test_a_module_computes_where_its_hook_says_or_its_weight_is():
    assert device_of(linear(Hook(execution_device="meta"))) == torch.device("meta")
    assert device_of(linear(Hook(execution_device=None))) == torch.device("meta")
    assert device_of(nn.Linear(3, 2)) == CPU
    several = SimpleNamespace(hooks=[SimpleNamespace(), hook := Hook()])
    assert hook_of(linear(several)) is hook and hook_of(nn.Linear(1, 1)) is None
    embeddings = nn.Embedding(4, 2)
    assert input_device(SimpleNamespace(get_input_embeddings=lambda: embeddings)) == CPU


def test_a_model_is_placed_where_it_is_spread_or_quantized():
    for name, value, placed in (
        ("hf_device_map", {"": 0}, True),
        ("hf_quantizer", object(), True),
        ("x", 1, False),
    ):
        module = nn.Linear(1, 1)
        setattr(module, name, value)
        assert is_placed(module) == placed
