"""Tensors by a configuration, and what of them a token goes through."""

import json

import pytest

from fusionchat.models.ref import ModelRef
from fusionchat.run.estimate import parameters, trained_parameters, used_parameters
from fusionchat.run.structure import configuration, count, structure, used_share
from tests.stages.recipes import recipe
from tests.structure import ROOT

CONFIGS = ROOT / "recipes" / "configs"
SIZES = {
    "openchat-3.5-7b": 7_241_748_480,
    "nh2-mixtral-8x7b": 46_702_809_088,
    "nh2-solar-10.7b": 10_731_540_480,
}
"""Of the published checkpoints with 32,000 rows, and 2 rows of 4,096 more in embedding and head."""


def ref(folder):
    return ModelRef("pivot", str(folder), str(folder))


@pytest.mark.parametrize("name", SIZES)
def test_a_folder_with_a_configuration_alone_counts_by_its_structure(name):
    assert parameters(ref(CONFIGS / name)) == SIZES[name]


def test_a_token_goes_through_the_experts_that_are_asked():
    """Mixtral's card: 12.9 billion of 46.7 are used for a token."""
    assert used_parameters(ref(CONFIGS / "nh2-mixtral-8x7b")) == pytest.approx(12.9e9, rel=0.002)
    plain = ref(CONFIGS / "nh2-solar-10.7b")
    assert used_parameters(plain) == parameters(plain)


@pytest.mark.parametrize(
    ("config", "share"),
    [
        ({"num_experts": 4, "num_experts_per_tok": 1}, 1 - 0.75 * 0.8),
        ({"text_config": {"n_routed_experts": 4, "num_experts_per_tok": 2}}, 1 - 0.5 * 0.8),
        ({"num_experts": 4}, 1.0),
        ({"num_experts": 4, "num_experts_per_tok": 8}, 1.0),
        ({}, 1.0),
    ],
)
def test_the_share_that_is_used(config, share):
    tensors = {
        "a.experts.0.w": (2, 2),
        "a.experts.1.w": (4,),
        "a.shared_experts.w": (1,),
        "a.q": (1, 1),
    }
    assert count(tensors) == 10 and used_share(tensors, config) == pytest.approx(share)


def test_factors_of_a_structure_are_those_of_its_matrices():
    """r (P + Q) of each of the seven matrices of a layer, arXiv 2106.09685."""
    sides = 2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)
    found = trained_parameters(
        recipe(distill={"train": {"lora": {"r": 2}}}), ref(CONFIGS / "openchat-3.5-7b")
    )
    assert found == 2 * 32 * sides


def test_a_broken_configuration_has_no_structure(tmp_path):
    assert configuration(None) == configuration(tmp_path) == {} and structure(tmp_path) is None
    for text in ("{", "[]", json.dumps({"model_type": "none"})):
        (tmp_path / "config.json").write_text(text)
        assert structure(tmp_path) is None and parameters(ref(tmp_path)) is None
