"""Two factors as matrices: their sides, BD-LoRA's blocks, and how the tensor is stored that they change."""

import numpy as np
import pytest
import torch

from fusionchat.merge.inputs.adapters.config import read_settings
from fusionchat.merge.inputs.adapters.factors import Pair
from fusionchat.merge.inputs.adapters.file import open_weights, read_contents
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from tests.merge.folders import adapter, random_tensors, save

MODULE = "model.layers.0.mlp.up_proj"


@pytest.fixture
def pair(tmp_path):
    files = []

    def get(tensors, **settings):
        held = {f"base_model.model.{MODULE}.lora_{kind}": t for kind, t in tensors.items()}
        folder = adapter(tmp_path / f"a{len(files)}", held, **settings)
        files.append(open_weights(folder, False))
        return Pair.of(MODULE, read_contents(files[-1]).modules[MODULE], read_settings(folder))

    yield get
    for file in files:
        file.close()


def test_the_factors_are_read_as_they_are_stored(pair):
    down, up = torch.randn(2, 4), torch.randn(6, 2)
    made = pair({"A.weight": down, "B.weight": up})
    assert made.sides == (6, 4) and made.shapes == ((6, 2), (2, 4)) and made.are_matrices
    read_up, read_down = made.read()
    np.testing.assert_array_equal(read_up, up.double().numpy())
    np.testing.assert_array_equal(read_down, down.double().numpy())
    assert pair({"A.weight": down}) is None
    assert not pair({"A.weight": down.reshape(-1), "B.weight": up}).are_matrices
    assert not pair({"A.weight": down.long(), "B.weight": up}).are_matrices


@pytest.mark.parametrize(("side", "name"), [("a", "A.weight"), ("b", "B.weight")])
def test_blocks_are_put_on_the_diagonal(pair, side, name):
    """BD-LoRA, as torch.block_diag of the blocks that lie one below the other."""
    tensors = {"A.weight": torch.randn(4, 6), "B.weight": torch.randn(8, 4)}
    stored = torch.randn(4, 3) if side == "a" else torch.randn(8, 2)
    made = pair(
        tensors | {name: stored}, r=4, use_bdlora={f"target_modules_bd_{side}": ["up_proj"], "nblocks": 2}
    )
    assert made.sides == (8, 6)
    whole = torch.block_diag(*stored.chunk(2)).double().numpy()
    np.testing.assert_array_equal(made.read()[side == "a"], whole)


BIASED = {"h.0.c.weight": (4, 12), "h.0.c.bias": (12,)}
PLAIN = {"layers.0.c.weight": (12, 4), "layers.0.c.bias": (12,)}
SQUARE = {"layers.0.c.weight": (4, 4), "layers.0.c.bias": (4,)}


@pytest.mark.parametrize(
    ("outputs", "shape", "shapes", "default", "turned"),
    [
        (6, (6, 4), PLAIN, True, False),
        (6, (4, 6), PLAIN, False, True),
        (4, (4, 4), BIASED, False, True),
        (4, (4, 4), PLAIN, True, False),
        (4, (4, 4), SQUARE, True, True),
        (4, (4, 4), SQUARE, False, False),
    ],
)
def test_the_shape_shows_the_layout_or_the_other_layers_do(
    tmp_path, pair, outputs, shape, shapes, default, turned
):
    pivot = open_checkpoint(save(tmp_path / "pivot", random_tensors(0, shapes=shapes)))
    made = pair({"A.weight": torch.ones(2, 4), "B.weight": torch.ones(outputs, 2)})
    assert made.is_transposed(shape, pivot, default) is turned
    assert pair({"embedding_A": torch.ones(2, 4), "embedding_B": torch.ones(4, 2)}).is_transposed(
        shape, pivot, False
    )
    pivot.close()
