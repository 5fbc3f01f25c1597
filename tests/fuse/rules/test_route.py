"""Route by hand: each conversation takes the model of its domain."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from fusionchat.fuse.rules import FuseRule
from fusionchat.fuse.rules.base import Units
from fusionchat.fuse.rules.route import Route

RULE = Route(map={"code": "qwen", "maths": "pivot", "plays": "gemma"})
DOMAINS = ("code", "maths", "plays", "zh", "", "code")


def units(names, labels=DOMAINS):
    worst_for_the_chosen = np.stack([np.full(len(labels), 1.0 - m) for m in range(len(names))])[::-1]
    return Units(worst_for_the_chosen, names, labels)


def test_the_domain_says_which_model_whatever_the_scores():
    weights = RULE.weigh(units(("pivot", "gemma", "qwen")))
    assert weights.dtype == np.float32
    assert weights.tolist() == [[0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 1]]


def test_a_domain_without_a_model_and_a_model_that_is_not_fused_are_the_pivot_s_and_counted():
    assert RULE.to_pivot(units(("pivot", "gemma", "qwen"))) == {
        "domain 'zh' is not in fuse.map": 1,
        "no domain": 1,
    }
    pair = units(("pivot", "gemma"))
    assert RULE.weigh(pair).tolist() == [[1, 1, 0, 1, 1, 1], [0, 0, 1, 0, 0, 0]]
    assert RULE.to_pivot(pair) == {
        "domain 'zh' is not in fuse.map": 1, "no domain": 1, "qwen is not fused here": 2,
    }  # fmt: skip


def test_by_id_each_conversation_has_its_own_model():
    rule = Route(column="id", map={"c1": "qwen", "c3": "gemma"})
    known = units(("pivot", "qwen"), ("c0", "c1", "c2", "c3"))
    assert rule.weigh(known).tolist() == [[1, 0, 1, 1], [0, 1, 0, 0]]
    assert rule.to_pivot(known) == {"id is not in fuse.map": 2, "gemma is not fused here": 1}


def test_what_its_settings_name():
    assert RULE.models == {"map.code": "qwen", "map.maths": "pivot", "map.plays": "gemma"}
    assert RULE.labels == ("code", "maths", "plays") and RULE.per == "conversation"


@pytest.mark.parametrize(
    "wrong", [{}, {"map": {}}, {"map": {"a": "b"}, "column": "topic"}, {"map": {"a": "b"}, "per": "turn"}]
)
def test_mistakes(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(FuseRule).validate_python({"method": "route", **wrong})
