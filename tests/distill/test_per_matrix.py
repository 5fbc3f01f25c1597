"""Any optimizer on bf16 weights does what it does on fp32 ones, and its state goes to disk and back."""

import io

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainingArguments

from fusionchat.distill.bf16_weights import NarrowModel
from fusionchat.distill.per_matrix import Group, OneByOne, kind_of, one_by_one, require_optimizer
from fusionchat.errors import RecipeError
from tests.distill.test_bf16_weights import model

RATE = 1e-3


def made(kind=torch.optim.AdamW, **options):
    narrow = model()
    parts = NarrowModel.of(narrow, compensated=True, seed=1)
    groups = [Group(p, 0.1) for p in narrow.parameters()]
    return narrow, OneByOne(groups, lambda _, group: kind([group], lr=RATE, **options), parts)


def give_gradients(weights, step):
    generator = torch.Generator().manual_seed(step)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator).bfloat16().to(weight.dtype)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop])
def test_it_steps_as_on_fp32_weights(kind):
    exact = model()
    other = kind([{"params": list(exact.parameters()), "weight_decay": 0.1}], lr=RATE)
    narrow, optimizer = made(kind)
    schedules = [LambdaLR(one, lambda step: 1 / (1 + step)) for one in (other, optimizer)]
    before = torch.cat([p.detach().flatten() for p in exact.parameters()])
    for step in range(3):
        give_gradients(exact.parameters(), step)
        give_gradients(narrow.parameters(), step)
        for one in (other, optimizer, *schedules):
            one.step()
    assert all(p.grad is None for p in narrow.parameters() if p.dim() > 1)
    optimizer.model.widen()
    got, wanted = (torch.cat([p.detach().flatten() for p in one.parameters()]) for one in (narrow, exact))
    assert (wanted - before).abs().max() > 1e-3
    assert torch.allclose(got, wanted, rtol=4 * 2.0**-23, atol=2e-8)


def test_it_goes_on_from_its_state():
    whole, optimizer = made()
    for step in range(4):
        give_gradients(whole.parameters(), step)
        optimizer.step()
        if step == 1:
            stored = io.BytesIO()
            torch.save(optimizer.state_dict(), stored)
            held = {name: p.clone() for name, p in whole.state_dict().items()}
    part, other = made()
    part.load_state_dict(held)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True))
    for step in (2, 3):
        give_gradients(part.parameters(), step)
        other.step()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), part.parameters(), strict=True))
    other.zero_grad()
    assert all(p.grad is None for p in part.parameters())


def test_a_weight_without_gradient_is_left():
    narrow, optimizer = made()
    before = [p.detach().clone() for p in narrow.parameters()]
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(narrow.parameters(), before, strict=True))


def test_trainers_optimizer_has_its_decay_and_embeddings_in_32_bits(tmp_path):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    manager.initialize()
    manager.index2config = {(0, 0): {"optim_bits": 32}}  # what an earlier training may have left
    narrow = model()
    narrow.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(torch.randn(64, 128))
    parts = NarrowModel.of(narrow, compensated=True, seed=1)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), optim="adamw_bnb_8bit", weight_decay=0.1, use_cpu=True, report_to="none"
    )
    optimizer = one_by_one(Trainer(narrow, arguments), narrow, parts)
    give_gradients(narrow.parameters(), 0)
    optimizer.step()
    by_name = dict(zip(dict(narrow.named_parameters()), optimizer.own, strict=True))
    assert by_name["model.norm.weight"].param_groups[0]["weight_decay"] == 0.0
    assert by_name["lm_head.weight"].param_groups[0]["weight_decay"] == 0.1
    (state,) = by_name["model.layers.0.mlp.up_proj.weight"].state.values()
    assert state["state1"].dtype == torch.uint8
    (state,) = by_name["model.embed_tokens.weight"].state.values()
    assert state["state1"].dtype == torch.float32


def test_a_name_that_cannot_be_had_is_refused():
    require_optimizer("adamw_torch_fused", narrow=True)
    assert kind_of("sgd").make is torch.optim.SGD
    with pytest.raises(RecipeError, match=r"no optimizer 'adamv_torch'.*did you mean 'adamw_torch'"):
        require_optimizer("adamv_torch", narrow=False)
    with pytest.raises(RecipeError, match="is not available"):
        require_optimizer("apollo_adamw", narrow=False)


@pytest.mark.parametrize(
    ("optim", "extra", "package"),
    [("adamw_torch_8bit", "torchao", "torchao"), ("adamw_bnb_8bit", "quant", "bitsandbytes")],
)
def test_an_optimizer_without_its_package_names_the_extra(monkeypatch, optim, extra, package):
    monkeypatch.setattr(f"transformers.trainer_optimizer.is_{package}_available", lambda *_: False)
    with pytest.raises(RecipeError, match=f"{optim} is not available") as error:
        require_optimizer(optim, narrow=True)
    assert f"fusionchat[{extra}]" in str(error.value)
