"""The choice among label weights."""

import pytest

from fusionchat.stages.select_label_weight import Select, select, selected
from tests.stages.recipes import evaluated, inputs


@pytest.mark.parametrize(("bits", "best"), [((1.0, 0.5), 0.5), ((0.5, 1.0), 0.9), ((0.5, 0.5), 0.9)])
def test_the_label_weight_with_the_least_bits_is_taken_ties_to_the_recipe_s(tmp_path, bits, best):
    needs = [evaluated(tmp_path, weight, value) for weight, value in zip(("0.9", "0.5"), bits, strict=True)]
    (tmp_path / "out").mkdir()
    summary = select(
        Select(label_weights=(0.9, 0.5), compared="varm"), inputs(tmp_path, *needs), tmp_path / "out"
    )
    assert summary == {"label_weight": best, "trials": {"0.9": bits[0], "0.5": bits[1]}}
    assert selected(tmp_path / "out") == (best, {"0.9": bits[0], "0.5": bits[1]})


def test_without_a_sweep_nothing_is_compared(tmp_path):
    assert select(Select(label_weights=(0.9,), compared=None), inputs(tmp_path), tmp_path) == {
        "label_weight": 0.9,
        "trials": {},
    }
