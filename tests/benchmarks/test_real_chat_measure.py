"""What is said of models that are measured beside a run's own."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from benchmarks.real_chat_measure import by_domain, gain, named, same

from fusionchat.evaluate.scores import Items, Scores
from fusionchat.evaluate.tasks import PRIMARY


def scores(bits: list[float], sizes: tuple[int, ...] = (10, 30, 20)) -> Scores:
    items = Items(("a", "b", "c"), ("code", "code", "math"), np.array(bits), np.array(sizes))
    return Scores(1, {PRIMARY.name: items})


def test_by_domain_divides_sums():
    assert by_domain(scores([10.0, 20.0, 15.0])) == {"all": 0.75, "code": 0.75, "math": 0.75}
    assert by_domain(scores([10.0, 10.0, 40.0])) == {"all": 1.0, "code": 0.5, "math": 2.0}


def test_gain_is_what_is_saved_dialogue_by_dialogue():
    found = gain(scores([8.0, 14.0, 11.0]), scores([10.0, 20.0, 15.0]))
    assert found.value == pytest.approx(12 / 60)
    assert found.sampling_se == pytest.approx(0.0)  # each dialogue saves 0.2 bits per byte
    assert gain(scores([8.0, 14.0, 15.0]), scores([10.0, 20.0, 15.0])).sampling_se > 0.05


def test_gain_needs_the_same_dialogues():
    other = scores([10.0, 20.0, 15.0], (10, 30, 21))
    assert not same(other.items[PRIMARY.name], scores([1.0, 1.0, 1.0]).items[PRIMARY.name])
    with pytest.raises(AssertionError, match="same dialogues"):
        gain(other, scores([10.0, 20.0, 15.0]))


def test_named():
    assert named("gold=out/model") == ("gold", Path("out/model"))
    with pytest.raises(argparse.ArgumentTypeError, match="NAME=FOLDER"):
        named("out/model")
