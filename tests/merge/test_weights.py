"""Properties of the variation ratio, and the grouping of names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.merge.weights import group_of, layer_of, module_of, most_moved, variation_ratio

squares = st.lists(st.floats(1e-12, 1e6), min_size=1, max_size=6).map(np.array)


@given(squares, st.floats(0, 4))
def test_ratios_sum_to_one_and_keep_their_order(mean_square, power):
    weight = variation_ratio(mean_square, power)
    assert weight.sum() == pytest.approx(1)
    order = np.argsort(mean_square, kind="stable")
    assert (np.diff(weight[order]) >= -1e-15).all()


@given(squares, st.integers(-250, 250), st.sampled_from([0.5, 1.0, 2.0]))
def test_ratios_do_not_change_with_scale(mean_square, exponent, power):
    np.testing.assert_allclose(
        variation_ratio(mean_square, power), variation_ratio(mean_square * 2.0**exponent, power), rtol=1e-12
    )


def test_what_did_not_change_weighs_nothing():
    np.testing.assert_array_equal(variation_ratio(np.array([0.0, 2.0, 2.0]), 0.0), [0, 0.5, 0.5])
    np.testing.assert_array_equal(variation_ratio(np.array([0.0, 0.0]), 1.0), [0, 0])


def test_hand_worked_ratio():
    np.testing.assert_allclose(variation_ratio(np.array([1.0, 3.0]), 1.0), [0.25, 0.75])
    np.testing.assert_allclose(variation_ratio(np.array([1.0, 3.0]), 2.0), [0.1, 0.9])


@pytest.mark.parametrize(
    ("name", "layer", "module"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "model.layers.3", "model.layers.3.self_attn"),
        ("model.layers.12.input_layernorm.weight", "model.layers.12", "model.layers.12.input_layernorm"),
        ("transformer.h.0.mlp.c_fc.bias", "transformer.h.0", "transformer.h.0.mlp"),
        ("model.layers.1.mlp.experts.7.up.weight", "model.layers.1", "model.layers.1.mlp"),
        ("model.norm.weight", "model.norm", "model.norm"),
        ("lm_head.weight", "lm_head", "lm_head"),
    ],
)
def test_groups_follow_the_structure_of_names(name, layer, module):
    assert group_of(name, "layer") == layer
    assert group_of(name, "module") == module
    assert group_of(name, "matrix") == name
    assert group_of(name, "model") == ""


def test_layer_and_module_of_a_name():
    assert layer_of("model.layers.3.mlp.up_proj.weight") == 3
    assert layer_of("model.norm.weight") is None
    assert module_of("model.layers.3.mlp.up_proj.weight") == "mlp.up_proj"
    assert module_of("model.layers.3.mlp.up_proj.bias") == "mlp.up_proj.bias"
    assert module_of("lm_head.weight") == "lm_head"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=4))
def test_noise_moves_no_share_further_than_said(parts):
    true, noise = np.array(parts).T
    if true.sum() < 1e-3:
        return
    moved = np.abs(variation_ratio(true + noise, 1.0) - variation_ratio(true, 1.0)).max()
    assert moved <= most_moved(list(noise), list(true + noise)) + 1e-12


def test_hand_worked_noise():
    assert most_moved([1.0, 1.0], [1.0, 9.0]) == 0.1  # 0 : 8 became 1 : 9
    assert most_moved([0.0, 0.0], [0.0, 0.0]) == 0.0


def test_every_column_has_shares_of_its_own():
    mean_square = np.array([[1.0, 4.0, 0.0], [3.0, 0.0, 0.0]])
    assert variation_ratio(mean_square, 1.0).tolist() == [[0.25, 1.0, 0.0], [0.75, 0.0, 0.0]]
