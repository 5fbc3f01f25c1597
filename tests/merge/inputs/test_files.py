"""Which files are a model's weights: shards without index, indexes that are stale, files of other programs."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.merge.inputs.files import INDEX, weight_files
from tests.merge.folders import family, random_tensors, save

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.fixture
def sharded(tmp_path):
    return save(tmp_path / "model", random_tensors(0), shards=2)


def test_shards_without_their_index_are_read_if_all_are_there(sharded):
    (sharded / INDEX).unlink()
    assert [path.name for path in weight_files(sharded).paths] == SHARDS
    held = open_checkpoint(sharded).tensors
    assert set(held) == set(random_tensors(0))
    (sharded / SHARDS[0]).rename(sharded / "model-00003-of-00003.safetensors")
    with pytest.raises(MergeError, match=r"have no index .* and number 1 of 3 is missing"):
        open_checkpoint(sharded)
    (sharded / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(MergeError, match="number 1 of 2 is missing"):
        open_checkpoint(sharded)
    for n in (1, 2, 3):
        save_file({f"w{n}": torch.ones(1)}, sharded / f"model-0000{n}-of-00003.safetensors")
    with pytest.raises(MergeError, match="two sets"):
        open_checkpoint(sharded)


def test_a_single_file_comes_before_an_index_as_in_transformers(sharded):
    save_file({"w": torch.ones(2)}, sharded / "model.safetensors")
    assert list(open_checkpoint(sharded).tensors) == ["w"]
    for name in SHARDS:  # the index of shards that are gone
        (sharded / name).unlink()
    assert list(open_checkpoint(sharded).tensors) == ["w"]
    (sharded / "model.safetensors").unlink()
    with pytest.raises(MergeError, match=f"names a file that is missing: {SHARDS[0]}"):
        open_checkpoint(sharded)


def test_files_of_other_programs_beside_the_shards_are_not_read(sharded):
    for name in (
        "consolidated.safetensors",
        "consolidated-00001-of-00002.safetensors",
        "original.safetensors",
    ):
        save_file({"layers.0.wq.weight": torch.ones(1)}, sharded / name)
    assert set(open_checkpoint(sharded).tensors) == set(random_tensors(0))
    (sharded / INDEX).unlink()
    assert set(open_checkpoint(sharded).tensors) == set(random_tensors(0))
    for name in SHARDS:
        (sharded / name).unlink()
    with pytest.raises(MergeError, match="It is unclear which of these files"):
        open_checkpoint(sharded)
    (sharded / "original.safetensors").unlink()
    (sharded / "consolidated-00001-of-00002.safetensors").unlink()
    assert list(open_checkpoint(sharded).tensors) == ["layers.0.wq.weight"]


def test_safetensors_come_before_pickles(tmp_path):
    pivot, _ = family(tmp_path, 0)
    torch.save({"w": torch.ones(1)}, pivot / "pytorch_model.bin")
    assert not weight_files(pivot).pickled and "w" not in open_checkpoint(pivot).tensors
    (pivot / "model.safetensors").unlink()
    assert weight_files(pivot).pickled
    with pytest.raises(MergeError, match="--allow-pickle"):
        open_checkpoint(pivot)


def test_pickles_may_be_sharded_with_or_without_index(tmp_path):
    held = random_tensors(0)
    folder = tmp_path / "bin"
    folder.mkdir()
    parts = {f"pytorch_model-0000{n + 1}-of-00002.bin": sorted(held)[n::2] for n in range(2)}
    for file, names in parts.items():
        torch.save({name: held[name] for name in names}, folder / file)
    opened = [open_checkpoint(folder, allow_pickle=True).tensors]
    where = {name: file for file, names in parts.items() for name in names}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    opened.append(open_checkpoint(folder, allow_pickle=True).tensors)
    for found in opened:
        assert set(found) == set(held)
        for name, tensor in held.items():
            np.testing.assert_array_equal(found[name].values, tensor.numpy().reshape(-1))
    next(iter(folder.glob("*-00002.bin"))).unlink()
    with pytest.raises(MergeError, match="missing"):
        open_checkpoint(folder, allow_pickle=True)


def test_shards_may_be_counted_from_zero(tmp_path):
    for n in (0, 1):
        save_file({f"w{n}": torch.ones(1)}, tmp_path / f"model-0000{n}-of-00002.safetensors")
    assert list(open_checkpoint(tmp_path).tensors) == ["w0", "w1"]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "model-00001-of-00001.safetensors"]
)
def test_a_large_file_that_git_did_not_fetch_is_called_so(tmp_path, name):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4976698672\n"
    (tmp_path / name).write_text(text)
    with pytest.raises(MergeError, match="Git LFS pointer"):
        open_checkpoint(tmp_path, allow_pickle=True)
