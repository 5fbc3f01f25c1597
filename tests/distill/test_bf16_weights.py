"""A model in bf16 is the same model once it is widened; with compensations to the last bit but one."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fusionchat.distill.bf16_weights import NarrowModel, matrices, narrowed
from fusionchat.distill.precision import Bf16Weights
from fusionchat.distill.rounding import draws


def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=29, **sizes))


@pytest.mark.parametrize(("compensated", "error"), [(True, 2.0**-23), (False, 2.0**-7)])
def test_a_model_comes_back(compensated, error):
    made, exact = model(), model()
    narrow = NarrowModel.of(made, compensated=compensated, seed=1)
    ids = torch.tensor([[3, 4, 5]])
    assert {p.dtype for p in matrices(exact)} == {torch.float32} and not list(matrices(made))
    assert {p.dtype for p in made.parameters() if p.dim() > 1} == {torch.bfloat16}
    assert {p.dtype for p in made.parameters() if p.dim() == 1} == {torch.float32}
    assert made.get_input_embeddings()(ids).dtype == torch.float32
    narrow.widen()
    off = [
        (a - b).abs().max() / b.abs().max()
        for a, b in zip(made.parameters(), exact.parameters(), strict=True)
    ]
    assert max(off) <= error and (compensated or max(off) > 2.0**-10)
    assert {p.dtype for p in made.parameters()} == {torch.float32}
    assert torch.allclose(made(ids).logits, exact(ids).logits, atol=1e-5 if compensated else 0.1)


def test_frozen_weights_stay_as_they_are():
    made = model()
    made.lm_head.weight.requires_grad_(False)
    NarrowModel.of(made, compensated=True, seed=1)
    assert made.lm_head.weight.dtype == torch.float32


def test_a_matrix_becomes_what_it_is_given():
    made = model()
    narrow = NarrowModel.of(made, compensated=True, seed=1)
    weight = made.lm_head.weight
    wide = torch.randn(weight.shape)
    narrow.take(0, narrow.parts[weight], wide.clone(), step=1)
    assert torch.allclose(narrow.parts[weight].wide(), wide, rtol=2.0**-22, atol=0)
    first = weight.detach().clone()
    narrow.parts[weight].take(wide.clone(), draws(1, 2, 0, wide.device))
    assert not torch.equal(weight, first) and torch.allclose(weight.float(), wide, rtol=2.0**-7, atol=0)


def test_what_is_lost_is_counted():
    made, exact = model(), model()
    narrow = NarrowModel.of(made, compensated=False, seed=1)
    off = [
        (a.detach().float() - b.detach()) for a, b in zip(made.parameters(), exact.parameters(), strict=True)
    ]
    off = torch.cat([one.flatten() for one in off if one.dim() > 1])
    assert narrow.noise == pytest.approx(float(off.square().mean().sqrt()), rel=1e-4)
    weight = made.lm_head.weight
    before, wide = narrow.lost, torch.full_like(weight, 0.3, dtype=torch.float32)
    narrow.take(0, narrow.parts[weight], wide.clone(), step=1)
    assert narrow.lost - before == pytest.approx(float((weight.float() - wide).square().sum()), rel=1e-3)
    assert NarrowModel.of(model(), compensated=True, seed=1).noise == 0.0


def test_only_bf16_weights_are_narrow():
    assert narrowed(model(), "bf16", seed=0) is None and narrowed(model(), "fp32", seed=0) is None
    kahan = narrowed(model(), Bf16Weights(), seed=0)
    stochastic = narrowed(
        model(), Bf16Weights.model_validate({"bf16_weights": {"rounding": "stochastic"}}), seed=0
    )
    assert all(part.rest is not None for part in kahan.parts.values())
    assert all(part.rest is None for part in stochastic.parts.values())
