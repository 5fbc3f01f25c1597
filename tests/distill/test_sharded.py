"""What is cut, into which groups, on one process; what several make of it is in test_ranks.py."""

import weakref

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from fusionchat.distill.sharded import HALF, blocks, gather, own_parts, part_of, shard, vectors_only
from fusionchat.distill.student import Student
from fusionchat.distill.trainer import DistillTrainer
from tests.distill.ranks import CPU, llama, make, trained


@pytest.fixture
def world(tmp_path):
    """A world of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_layers_are_what_the_structure_never_splits():
    assert [type(one).__name__ for one in blocks(make("tied", torch.float32).base_model)] == ["GPT2Block"] * 2
    assert [type(one).__name__ for one in blocks(llama().base_model)] == ["LlamaDecoderLayer"] * 2


def test_norms_have_vectors_only():
    names = [type(one).__name__ for one in vectors_only(llama())]
    assert names == ["LlamaRMSNorm"] * 5


def test_parameters_are_cut_and_made_whole_again(world):
    model = llama()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    student = Student.of(model, label_weight=0.5)
    shard(student, CPU, bf16=True)
    assert all(isinstance(p, DTensor) for p in model.parameters())
    assert len(own_parts(student)) == len(before) and all(type(p) is torch.Tensor for p in own_parts(student))
    whole = before["model.norm.weight"]
    part = part_of(whole, model.model.norm.weight)
    assert isinstance(part, DTensor) and torch.equal(part.full_tensor(), whole)
    assert part_of(whole, whole) is whole and part_of(torch.tensor(1.0), model.model.norm.weight) == 1.0
    gather(model, keep=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    after = dict(model.named_parameters())
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_a_process_that_does_not_keep_them_has_none(world):
    model = make("frozen", torch.float32)
    shard(Student.of(model, label_weight=0.5), CPU, bf16=False)
    gather(model, keep=False)
    assert all(p.is_meta for p in model.parameters())
    assert {p.requires_grad for p in model.parameters()} == {True, False}


def test_a_training_lets_go_of_the_whole_parameters(world, tmp_path, monkeypatch):
    model = make("tied", torch.float32)
    whole = [weakref.ref(p) for p in model.parameters()]
    left, a_pass = set(), DistillTrainer._pass

    def watched(self, *given):
        left.add(sum(ref() is not None for ref in whole))
        return a_pass(self, *given)

    monkeypatch.setattr(DistillTrainer, "_pass", watched)
    trained(model, tmp_path, sharded=True)
    assert left == {0}


def test_halves_are_added_up_whole():
    assert (HALF.param_dtype, HALF.reduce_dtype) == (torch.bfloat16, torch.float32)
