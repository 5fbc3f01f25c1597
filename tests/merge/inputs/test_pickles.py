"""Pickles are read as they lie, by whatever program and version wrote them, and never run."""

import numpy as np
import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream.merge import merge_models
from fusionchat.merge.stream.planning import plan_merge
from tests.merge.folders import SHAPES, family, load, random_tensors, save


def pickled(source, folder, **how):
    held = {name: torch.from_numpy(value).float() for name, value in load(source).items()}
    folder.mkdir()
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    torch.save(held, folder / "pytorch_model.bin", **how)
    return folder


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "old"])
def test_a_plan_and_a_merge_of_pickles_are_those_of_safetensors(tmp_path, how):
    pivot, targets = family(tmp_path, 1)
    mine, theirs = pickled(pivot, tmp_path / "p", **how), pickled(targets["t0"], tmp_path / "t", **how)
    with pytest.raises(MergeError, match="--allow-pickle"):
        plan_merge(mine, {"t": theirs}, Linear())
    planned = plan_merge(mine, {"t": theirs}, Linear(), allow_pickle=True)
    assert planned.files == plan_merge(pivot, targets, Linear()).files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "pivot", "t", "t0"]  # nothing is written
    wanted = merge_models(pivot, targets, Linear(), tmp_path / "a", dtype="bfloat16", threads=1)
    made = merge_models(mine, {"t": theirs}, Linear(), tmp_path / "b", threads=1, allow_pickle=True)
    assert len(wanted.tensors) == len(made.tensors) == len(SHAPES)
    for name, value in load(tmp_path / "a").items():
        np.testing.assert_array_equal(value, load(tmp_path / "b")[name])


def test_views_and_all_types_are_read(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    held = {
        "turned.weight": base.T,
        "part.weight": base[1:, ::2],
        "half.weight": base.half(),
        "brain.weight": base.bfloat16(),
        "double.weight": base.double(),
        "whole": torch.arange(5),
        "mask": torch.tensor([True, False]),
        "none.weight": torch.zeros(0, 3),
        "one": torch.tensor(2.5),
    }
    torch.save(held, tmp_path / "pytorch_model.bin")
    found = open_checkpoint(tmp_path, allow_pickle=True).tensors
    assert [(n, t.dtype) for n, t in found.items()] == list(
        zip(held, ["F32", "F32", "F16", "BF16", "F64", "I64", "BOOL", "F32", "F32"], strict=True)
    )
    for name, tensor in held.items():
        assert found[name].shape == tuple(tensor.shape)
        assert bytes(found[name].raw()) == tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        if found[name].is_float:
            values = np.empty(tensor.numel(), np.float32)
            found[name].decode(0, values)
            np.testing.assert_array_equal(values, tensor.float().reshape(-1))


@pytest.mark.parametrize(
    "held", [{"w": [1.0]}, [torch.ones(1)], {"model": {"w": torch.ones(1)}}, {"w": print}]
)
def test_anything_but_tensors_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "pytorch_model.bin")
    with pytest.raises(MergeError, match="more than"):
        open_checkpoint(tmp_path, allow_pickle=True)


def test_a_search_opens_pickles_too(tmp_path):
    from fusionchat.merge.stream.merge import inner_products

    pivot, targets = family(tmp_path, 1)
    wanted = inner_products(pivot, targets, threads=1)
    made = inner_products(pickled(pivot, tmp_path / "p"), targets, threads=1, allow_pickle=True)
    for name, gram in wanted.items():
        np.testing.assert_array_equal(made[name].products_NN, gram.products_NN)
    assert save(tmp_path / "again", random_tensors(0)).is_dir()
