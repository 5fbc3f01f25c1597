"""Checkpoints in parts, in one process; what several write and read is in test_ranks.py."""

import pytest
import torch
from safetensors.torch import save_model

from fusionchat.distill.sharded_checkpoints import (
    load_optimizer,
    load_weights,
    save_optimizer,
    save_weights,
    trained,
)
from tests.distill.ranks import make


def stepped(seed):
    """A model after a step of AdamW, of which a part is trained."""
    model = make("frozen", torch.float32)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    torch.manual_seed(seed)
    for parameter in trained(model).values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return model, optimizer


def states(model, optimizer):
    return {
        (name, key): value for name, p in trained(model).items() for key, value in optimizer.state[p].items()
    }


def assert_equal(one, other):
    assert one.keys() == other.keys() and one
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_read_is_what_was_written(tmp_path, whole):
    model, optimizer = stepped(0)
    if whole:
        save_model(model, str(tmp_path / "model.safetensors"))
        torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    else:
        save_weights(model, tmp_path)
        save_optimizer(optimizer, model, tmp_path)
    other, others = stepped(1)
    load_weights(other, tmp_path)
    load_optimizer(others, other, tmp_path)
    assert_equal(trained(model), trained(other))
    assert_equal(states(model, optimizer), states(other, others))


def test_state_of_an_optimizer_that_has_not_stepped_is_made(tmp_path):
    model, optimizer = stepped(0)
    save_optimizer(optimizer, model, tmp_path)
    fresh = torch.optim.AdamW(list(trained(model).values()))
    load_optimizer(fresh, model, tmp_path)
    assert_equal(states(model, optimizer), states(model, fresh))
