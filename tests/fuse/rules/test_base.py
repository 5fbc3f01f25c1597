"""What all fusion rules share."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from fusionchat.fuse.rules import RULES, FuseRule
from fusionchat.fuse.rules.base import BaseRule, Rule, Units, comparable, take_least


def test_scores_are_compared_in_fp32_and_a_missing_one_is_infinite():
    scores = comparable(np.array([[1.0 + 1e-9, np.nan], [1.0, 2.0]]))
    assert scores.dtype == np.float32 and scores.tolist() == [[1, np.inf], [1, 2]]


REQUIRED = {"route": {"map": {"maths": "a"}}}
"""Settings that a rule must have."""


@pytest.mark.parametrize("method", RULES)
def test_every_rule_gives_what_nobody_scored_to_the_pivot(method):
    rule = RULES[method](**REQUIRED.get(method, {}))
    scores = np.array([[np.nan, 1.0], [np.nan, 2.0]])
    units = Units(scores, ("pivot", "a"), ("", ""), entropy=scores)
    weights = rule.weigh(units)
    assert weights.dtype == np.float32 and weights[:, 0].tolist() == [1, 0]
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)


def test_a_rule_is_read_by_its_method():
    read = TypeAdapter(FuseRule).validate_python
    assert {type(read({"method": name, **REQUIRED.get(name, {})})) for name in RULES} == set(RULES.values())
    assert read({"method": "min_ce", "per": "turn"}) == RULES["min_ce"](per="turn")


@pytest.mark.parametrize("wrong", [{"method": "min_ce", "perr": "turn"}, {"method": "min_ce", "per": "word"}])
def test_what_a_rule_does_not_have_is_an_error(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(FuseRule).validate_python(wrong)


def test_the_base_has_no_weights():
    with pytest.raises(NotImplementedError):
        Rule("none").weights(np.zeros((1, 1)))
    with pytest.raises(NotImplementedError):
        BaseRule("none").weigh(Units(np.zeros((1, 1)), ("pivot",), ("",)))


def test_a_rule_that_compares_nothing_has_no_such_settings():
    plain, units = BaseRule("none"), Units(np.zeros((1, 1)), ("pivot",), ("",))
    assert (plain.per, plain.unit, plain.mixes) == ("conversation", "bits_per_byte", False)
    assert not plain.asks_entropy and not plain.models and not plain.labels and not plain.to_pivot(units)


@pytest.mark.parametrize("method", RULES)
def test_temperatures_are_of_models_and_greater_than_0(method):
    more = REQUIRED.get(method, {})
    named = RULES[method](**more, temperatures={"qwen": 2.0}).models
    assert named["temperatures.qwen"] == "qwen" and len(named) == 1 + len(more)
    for wrong in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"temperatures\.qwen must be greater than 0"):
            RULES[method](**more, temperatures={"qwen": wrong})


def test_the_least_takes_all():
    weights = take_least(np.array([[1.0, 2.0, np.nan], [1.0, 1.0, np.nan], [0.5, 1.0, np.nan]]))
    assert weights.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]] and weights.dtype == np.float32
