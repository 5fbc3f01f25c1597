"""Which weights an adapter was trained on, and that it is refused on others."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from fusionchat.errors import ModelError
from fusionchat.hub import find
from fusionchat.models.base import BASE, require_same_weights, weights_identity, write_base


def folder(path, value):
    path.mkdir()
    save_file({"w": torch.full((4,), float(value))}, path / "model.safetensors")
    return path


def test_a_copy_is_the_same_base_and_other_weights_are_not(tmp_path):
    base, adapter = folder(tmp_path / "b", 1), tmp_path / "a"
    adapter.mkdir()
    require_same_weights(adapter, base)  # most adapters have no record
    write_base(adapter, find(str(base)), quantized=None, kind="nf4")
    held = json.loads((adapter / BASE).read_text())
    assert held == {"model": str(base), "weights": weights_identity(base), "kind": "nf4"}
    shutil.copytree(base, tmp_path / "copy")
    (tmp_path / "copy/README.md").write_text("a copy")
    require_same_weights(adapter, tmp_path / "copy")
    with pytest.raises(ModelError, match=f"was trained on {base}, and .*/other has other weights") as error:
        require_same_weights(adapter, folder(tmp_path / "other", 2))
    assert BASE in error.value.do


def test_pickles_count_only_where_there_are_no_safetensors(tmp_path):
    base = folder(tmp_path / "b", 1)
    before = weights_identity(base)
    (base / "pytorch_model.bin").write_bytes(b"x")
    assert weights_identity(base) == before
    (base / "model.safetensors").unlink()
    assert weights_identity(base) != before
