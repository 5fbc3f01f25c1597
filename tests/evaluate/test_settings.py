"""Which tasks a recipe turns on."""

import pytest
from pydantic import ValidationError

from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.evaluate.tasks import ALWAYS, METRICS, PRIMARY, TASKS


def test_every_task_is_a_key_that_may_be_left_out_but_those_that_are_always_on():
    asked = {name for name, kind in TASKS.items() if not kind.always}
    assert set(EvaluateSettings.model_fields) == asked | {"dtype"} and "likelihood" not in asked
    plain = EvaluateSettings()
    assert plain.tasks == ALWAYS and plain.metrics == (PRIMARY,) == (METRICS["bits_per_byte"],)
    both = EvaluateSettings.model_validate({"exact_match": {"limit": 3}})
    assert [task.name for task in both.tasks] == ["likelihood", "exact_match"]
    assert [metric.name for metric in both.metrics] == ["bits_per_byte", "exact_match"]
    assert both.tasks[1].limit == 3


def test_other_tasks_can_be_turned_off():
    both = EvaluateSettings.model_validate({"exact_match": {}, "dtype": "bfloat16"})
    assert both.only("exact_match") == both
    for bits in (both.only(), both.only("likelihood")):
        assert bits.tasks == ALWAYS and bits.dtype == "bfloat16"


def test_a_task_that_nobody_knows_is_refused():
    with pytest.raises(ValidationError, match="exact_macth"):
        EvaluateSettings.model_validate({"exact_macth": {}})


def test_a_metric_is_measured_by_the_task_that_is_on():
    both = EvaluateSettings.model_validate({"exact_match": {}})
    assert both.task_of("exact_match") is both.exact_match
    assert both.task_of("bits_per_byte") is ALWAYS[0]
    with pytest.raises(ValueError, match=r"^exact_match needs evaluate\.exact_match$"):
        EvaluateSettings().task_of("exact_match")
    with pytest.raises(ValueError, match=r"no metric 'bits_per_bite' .did you mean 'bits_per_byte'"):
        both.task_of("bits_per_bite")
