"""Settings of mergekit's files: values, gradients over the layers, and filters."""

import pytest
from pydantic import TypeAdapter

from fusionchat.merge.mergekit.rules import Rule, rules_of
from fusionchat.merge.mergekit.schema import Value

VALUE = TypeAdapter(Value)


def at(value, tensor="", t=0.0):
    return Rule(VALUE.validate_python(value), "parameters.t").at(tensor, t)


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


def test_rules_know_their_place():
    rules = rules_of({"t": 0.5, "weight": (0.0, 1.0)}, "models.1.parameters")
    assert rules == {
        "t": Rule(0.5, "models.1.parameters.t"),
        "weight": Rule((0.0, 1.0), "models.1.parameters.weight"),
    }
    assert rules_of(None, "x") == {}
