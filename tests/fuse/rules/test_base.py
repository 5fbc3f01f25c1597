"""What all fusion rules share."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from fusionchat.fuse.rules import RULES, FuseRule
from fusionchat.fuse.rules.base import Rule, comparable


def test_scores_are_compared_in_fp32_and_a_missing_one_is_infinite():
    scores = comparable(np.array([[1.0 + 1e-9, np.nan], [1.0, 2.0]]))
    assert scores.dtype == np.float32 and scores.tolist() == [[1, np.inf], [1, 2]]


@pytest.mark.parametrize("rule", [kind() for kind in RULES.values()])
def test_every_rule_gives_what_nobody_scored_to_the_pivot(rule):
    weights = rule.weights(np.array([[np.nan, 1.0], [np.nan, 2.0]]))
    assert weights.dtype == np.float32 and weights[:, 0].tolist() == [1, 0]
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)


def test_a_rule_is_read_by_its_method():
    read = TypeAdapter(FuseRule).validate_python
    assert {type(read({"method": name})) for name in RULES} == set(RULES.values())
    assert read({"method": "min_ce", "per": "turn"}) == RULES["min_ce"](per="turn")


@pytest.mark.parametrize("wrong", [{"method": "min_ce", "perr": "turn"}, {"method": "min_ce", "per": "word"}])
def test_what_a_rule_does_not_have_is_an_error(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(FuseRule).validate_python(wrong)


def test_the_base_has_no_weights():
    with pytest.raises(NotImplementedError):
        Rule("none").weights(np.zeros((1, 1)))
