"""A mergekit file's settings as methods: whose setting counts, and for which targets."""

import pytest

from fusionchat.errors import RecipeError
from fusionchat.merge.mergekit.kinds import KINDS
from fusionchat.merge.mergekit.rules import rules_of
from fusionchat.merge.mergekit.schema import MergekitFile
from fusionchat.merge.mergekit.settings import builder, check_rules, check_slices, targets_of
from fusionchat.merge.mergekit.sources import slices_of
from fusionchat.merge.methods.dare import DareLinear
from fusionchat.merge.methods.karcher import Karcher
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.passthrough import Passthrough
from fusionchat.merge.methods.spherical import Multislerp
from fusionchat.merge.methods.ties import Ties


def read_slices(top):
    return slices_of(MergekitFile.model_validate({"merge_method": "linear", **top}))


def models(**parameters):
    """A file's one slice, of models with these settings."""
    return read_slices({"models": [{"model": name, "parameters": own} for name, own in parameters.items()]})


def build(name, slices, targets, shared=None, *, based=True):
    return builder(KINDS[name], slices, rules_of(shared, "parameters"), targets, based)


def test_a_model_s_own_setting_comes_before_the_file_s_and_mergekit_s():
    make = build("ties", models(base=None, x={"weight": 0.3}, y={"density": 0.5}), ["x", "y"], {"weight": 2})
    assert make("w", None, 0.0) == Ties(weight=(0.3, 2.0), density=(1.0, 0.5), normalize=True)


def test_a_slice_s_setting_comes_between():
    sources = [
        {"model": "x", "layer_range": [0, 2], "parameters": {"weight": 1}},
        {"model": "y", "layer_range": [0, 2]},
    ]
    slices = read_slices({"slices": [{"sources": sources, "parameters": {"weight": 2}}]})
    assert build("linear", slices, ["x", "y"], {"weight": 3})("w", 0, 0.0) == Linear(weight=(1.0, 2.0))


def test_a_target_without_a_weight_counts_once():
    assert build("linear", models(x={"weight": 3}, y=None), ["x", "y"])("w", None, 0.0) == Linear(
        weight=(3.0, 1.0)
    )
    assert build("linear", models(x=None, y=None), ["x", "y"])("w", None, 0.0) == Linear()


def test_settings_depend_on_the_tensor_and_its_depth():
    weight = [{"filter": "mlp", "value": [0, 1]}, {"value": 0.5}]
    make = build("dare_linear", models(base=None, x={"weight": weight}), ["x"])
    assert make("h.3.mlp.up", None, 0.75) == DareLinear(weight=(0.75,), density=(1.0,))
    assert make("norm", None, 0.75) == DareLinear(weight=(0.5,), density=(1.0,))


def test_whole_numbers_and_the_centre_of_the_sphere():
    assert build("karcher", models(x=None, y=None), ["x", "y"], {"max_iter": 7.0})("w", None, 0) == Karcher(
        max_iter=7
    )
    for based, origin in ((True, "pivot"), (False, "zero")):
        make = build("multislerp", models(x=None, y=None), ["x", "y"], based=based)
        assert make("w", None, 0.0) == Multislerp(origin=origin)


def test_a_slice_of_one_model_is_taken_as_it_is():
    """TIES would trim it; linear would give the same."""
    top = {"slices": [{"sources": [{"model": name, "layer_range": [0, 2]}]} for name in ("x", "base")]}
    make = build("ties", read_slices(top), ["x"])
    assert make("w", 0, 0.0) == Linear() and make("w", 1, 0.0) == Passthrough()


def test_the_targets_of_a_slice_are_in_their_own_order():
    (part,) = models(y=None, base=None, x=None)
    assert targets_of(part, ["x", "y", "z"]) == ["x", "y"]


def test_values_that_a_method_refuses_name_the_tensor():
    make = build("ties", models(base=None, x={"density": 2}), ["x"])
    with pytest.raises(RecipeError, match="tensor norm: `density` must be between"):
        make("norm", None, 0.0)


@pytest.mark.parametrize(
    ("shared", "words", "where"),
    [
        ({"gamma": 1}, "no setting 'gamma'", "parameters.gamma"),
        ({"wieght": 1}, r"no setting 'wieght' \(did you mean 'weight'\?\)", "parameters.wieght"),
        ({"rescale": True}, "Only rescale: False is supported", "parameters.rescale"),
    ],
)
def test_settings_that_are_none_of_the_method_s(shared, words, where):
    check_rules(
        KINDS["ties"], models(x={"weight": 1}), rules_of({"int8_mask": True, "lambda": 1}, "parameters")
    )
    with pytest.raises(RecipeError, match=words) as caught:
        check_rules(KINDS["ties"], models(x=None), rules_of(shared, "parameters"))
    assert caught.value.where == where
    with pytest.raises(RecipeError) as caught:
        check_rules(KINDS["ties"], models(x=shared), {})
    assert caught.value.where == f"models.0.{where}"


def test_a_slice_with_another_number_of_models_than_the_method_takes():
    sources = [{"model": name, "layer_range": [0, 2]} for name in ("base", "x", "y", "z")]
    slices = read_slices({"slices": [{"sources": sources[:3]}, {"sources": sources}]})
    targets = ["x", "y", "z"]
    with pytest.raises(RecipeError, match="nuslerp needs 2 targets, not 3") as caught:
        check_slices(slices, targets, build("nuslerp", slices, targets))
    assert caught.value.where == "slices.1.sources"
