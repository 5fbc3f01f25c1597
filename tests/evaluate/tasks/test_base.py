"""What a task is without being told otherwise."""

from typing import ClassVar

import pytest
from pydantic import ValidationError

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.evaluate.metric import RATIO, Metric
from fusionchat.evaluate.scores import Items, Scores
from fusionchat.evaluate.tasks import ALWAYS, METRICS, PRIMARY, TASKS
from fusionchat.evaluate.tasks.base import Measured, PartSize, Task

TALKS = [Conversation(name, (Message("assistant", "a"),)) for name in "abc"]


class Cost(Task):
    name: ClassVar[str] = "cost"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("cost", "cost", "cents", "lower", RATIO),)
    most: int = 3


def test_a_task_measures_all_conversations_and_compares_all_that_it_has():
    scores = {name: Scores(1, {"cost": Items.of(TALKS, [1.0, 2.0, 3.0])}, {}, None) for name in "xy"}
    assert Cost().places(TALKS) == [0, 1, 2]
    assert Cost.comparable(scores) == ([scores["x"], scores["y"]], "")
    assert Cost.remark({"x": {"cut": 3}}) == "" and not Cost.always


def test_a_task_s_passes_are_over_the_part_and_a_limit_takes_a_share_of_it():
    assert Cost().tokens(PartSize(600.0, 6.0), {}) == 600
    assert PartSize(600.0, 6.0).of(2) == (200, 2) and PartSize(600.0, 6.0).of(9) == (600, 6)
    assert PartSize(600.0, 6.0).of(None) == (600, 6)


def test_a_task_says_how_it_measures():
    with pytest.raises(NotImplementedError):
        Cost().measure(None, None)


def test_a_task_s_settings_are_those_of_a_recipe():
    assert Cost(most=4).most == 4
    with pytest.raises(ValidationError):
        Cost(least=1)


def test_items_are_all_that_a_task_has_to_give():
    given = Measured({"cost": Items.of(TALKS, [1.0, 2.0, 3.0])})
    assert (dict(given.files), dict(given.counts), given.warnings) == ({}, {}, ())


def test_those_that_are_always_on_come_first():
    assert [kind.always for kind in TASKS.values()] == sorted(
        (k.always for k in TASKS.values()), reverse=True
    )
    assert [task.name for task in ALWAYS] == [name for name, kind in TASKS.items() if kind.always]
    assert PRIMARY is next(iter(METRICS.values())) and PRIMARY.name == "bits_per_byte"
