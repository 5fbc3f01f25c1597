"""Settings of mergekit's files: values, gradients over the layers, and filters."""

import pytest

from fusionchat.errors import RecipeError
from fusionchat.merge.mergekit.rules import Rule, only_keys, rules_of


def at(value, tensor="", t=0.0):
    return Rule(value, "parameters.t").at(tensor, t)


def test_a_value_is_the_same_everywhere():
    assert at(0.5) == 0.5 and at("5e-6") == 5e-6 and at(2) == 2.0
    assert at(True) is True and at(False) is False


@pytest.mark.parametrize(
    ("t", "expected"), [(0.0, 0), (0.25, 0.5), (0.5, 1), (0.75, 0.75), (0.9, 0.6), (1.0, 0.5)]
)
def test_a_gradient_is_linear_between_its_numbers(t, expected):
    """0, 1, 0.5 are at depths 0, 1/2 and 1."""
    assert at([0, "1", 0.5], t=t) == pytest.approx(expected)


def test_a_gradient_of_one_number_is_that_number():
    assert at([0.3], t=0.7) == pytest.approx(0.3)


FILTERS = [{"filter": "self_attn", "value": [0, 1]}, {"filter": "mlp", "value": 0.25}, {"value": 0.5}]


@pytest.mark.parametrize(
    ("tensor", "expected"), [("h.0.self_attn.q", 0.75), ("h.0.mlp.up", 0.25), ("norm", 0.5), ("", 0.5)]
)
def test_the_first_filter_that_is_in_the_name_counts(tensor, expected):
    assert at(FILTERS, tensor, 0.75) == expected


def test_where_no_filter_matches_there_is_no_value():
    assert at(FILTERS[:2], "norm") is None
    assert at({"filter": "*", "value": 0.1}, "norm") == 0.1
    assert at({"filter": "mlp", "value": 0.1}, "h.0.mlp.up") == 0.1


@pytest.mark.parametrize(
    "value", ["much", None, [], [0, "x"], [True], [{"filter": "a", "value": "b"}, {"value": "c"}]]
)
def test_what_is_no_number_is_named_by_its_place(value):
    with pytest.raises(RecipeError, match="This is not a number") as caught:
        at(value)
    assert caught.value.where == "parameters.t"


def test_rules_are_read_from_a_mapping():
    rules = rules_of({"t": 0.5, "weight": [0, 1]}, "models[1].parameters")
    assert rules == {
        "t": Rule(0.5, "models[1].parameters.t"),
        "weight": Rule([0, 1], "models[1].parameters.weight"),
    }
    assert rules_of(None, "x") == {}
    with pytest.raises(RecipeError, match="mapping"):
        rules_of([0.5], "x")
    with pytest.raises(RecipeError, match="not a number"):
        rules_of({"t": "much"}, "x")


@pytest.mark.parametrize(("where", "place"), [("", "modles"), ("a[0]", "a[0].modles")])
def test_a_key_that_is_not_known_is_named_by_its_place(where, place):
    only_keys({"models": 1}, {"models", "dtype"}, where)
    with pytest.raises(RecipeError, match="dtype, models") as caught:
        only_keys({"modles": 1}, {"models", "dtype"}, where)
    assert caught.value.where == place


def test_a_filter_has_no_other_keys():
    with pytest.raises(RecipeError, match="unknown"):
        at([{"filter": "a", "weight": 1}])
