"""Factors of experts: which stored tensors they change, and by what."""

import numpy as np
import pytest

from fusionchat.merge.inputs.adapters.experts import Place, matrices, parameters_of, places
from fusionchat.merge.inputs.adapters.names import Names
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from tests.merge.folders import random_tensors, save

PATH = "model.layers.0.mlp.experts"
FUSED = {f"{PATH}.gate_up_proj": (3, 6, 4), f"{PATH}.down_proj": (3, 4, 3)}
SINGLE = {f"{PATH}.{e}.{n}.weight": (3, 4) for e in range(3) for n in ("gate_proj", "up_proj")} | {
    f"{PATH}.{e}.down_proj.weight": (4, 3) for e in range(3)
}


class Factor:
    """All that is asked of a factor here is its shape."""

    def __init__(self, *shape):
        self.shape = shape


@pytest.fixture
def opened(tmp_path):
    held = []

    def get(shapes):
        pivot = open_checkpoint(save(tmp_path / str(len(held)), random_tensors(0, shapes=shapes)))
        held.append(pivot)
        return pivot, Names(pivot.tensors)

    yield get
    for pivot in held:
        pivot.close()


@pytest.mark.parametrize("shapes", [FUSED, SINGLE])
def test_targets_are_ends_of_names_in_either_form(opened, shapes):
    pivot, names = opened(shapes)
    for targets, found in {
        ("gate_up_proj",): ["gate_up_proj"],
        ("mlp.experts.down_proj", "experts.gate_up_proj"): ["down_proj", "gate_up_proj"],
        ("other.down_proj",): [],
        ("w1",): [],
    }.items():
        assert parameters_of(PATH, targets, names, pivot) == found


def test_experts_in_one_tensor_are_one_place(opened):
    pivot, names = opened(FUSED)
    factors = {"B": Factor(6, 2 * 3), "A": Factor(2 * 3, 4)}
    assert places(PATH, "gate_up_proj", factors, names, pivot) == [
        Place(f"{PATH}.gate_up_proj", 3, None, (0, 6), False)
    ]
    turned = {"B": Factor(4, 2 * 3), "A": Factor(2 * 3, 6)}
    assert places(PATH, "gate_up_proj", turned, names, pivot) == [
        Place(f"{PATH}.gate_up_proj", 3, None, (0, 4), True)
    ]
    for wrong in ({"B": Factor(6, 5), "A": Factor(6, 4)}, {"B": Factor(6, 4), "A": Factor(4, 4)}):
        assert places(PATH, "gate_up_proj", wrong, names, pivot) == []


def test_experts_stored_one_by_one_have_rows_of_their_own(opened):
    pivot, names = opened(SINGLE)
    made = places(PATH, "gate_up_proj", {"B": Factor(6, 6), "A": Factor(6, 4)}, names, pivot)
    assert {(p.name, p.experts, p.expert, p.outputs) for p in made} == {
        (f"{PATH}.{e}.{n}.weight", 3, e, rows)
        for e in range(3)
        for n, rows in (("gate_proj", (0, 3)), ("up_proj", (3, 6)))
    }


@pytest.mark.parametrize(("shape", "fits"), [((3, 4, 4), [False, True]), ((4, 4), [False])])
def test_square_experts_fit_in_two_ways_where_their_class_is_not_known(opened, shape, fits):
    pivot, names = opened({f"{PATH}.down_proj": shape})
    experts = shape[0] if len(shape) == 3 else 1
    factors = {"B": Factor(4, 2 * experts), "A": Factor(2 * experts, 4)}
    assert [p.transposed for p in places(PATH, "down_proj", factors, names, pivot)] == fits


def test_the_product_of_an_experts_matrices_is_pefts():
    """peft: einsum("o r e, e r i -> e o i") of B and A as they are stored."""
    rng = np.random.default_rng(0)
    experts, rank, outputs, inputs = 3, 2, 6, 4
    down, up = rng.normal(size=(experts * rank, inputs)), rng.normal(size=(outputs, rank * experts))
    right = np.einsum("ore,eri->eoi", up.reshape(outputs, rank, experts), down.reshape(experts, rank, inputs))
    left, factor = matrices(down, up, Place("all", experts, None, (0, outputs), False))
    np.testing.assert_allclose(left @ factor, right)
    left, factor = matrices(down, up, Place("one", experts, 1, (3, 6), False))
    np.testing.assert_allclose(left @ factor, right[1:2, 3:6])
