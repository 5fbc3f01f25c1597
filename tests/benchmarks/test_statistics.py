"""A small part of `python -m benchmarks.statistics`, seeded; the bounds hold three standard errors of so few trials."""

import numpy as np
import pytest
from benchmarks.statistics import Case, cases, experiment, simulate

from fusionchat.evaluate.tasks import METRICS

CHOSEN = ("40 items, 3 seeds of SFT, 1 ", "right answer, 250 items, 3 seeds of SFT, 3 ")
THREE_SEEDS = [case for case in cases() if any(words in case.name for words in CHOSEN)]


@pytest.mark.parametrize("case", THREE_SEEDS, ids=lambda case: case.name)
def test_equal_models_are_called_different_in_five_percent_and_what_can_be_seen_is(case):
    found = simulate(case, 200, seed=1)
    assert 0.01 <= found.equal <= 0.1 and found.seen >= 0.8 - 0.08 and found.size > 2.8


def test_there_are_cases_with_and_without_training_by_bits_and_by_right_answers():
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) == 39 and len(THREE_SEEDS) == 6
    assert {case.metric.name for case in cases()} == {"bits_per_byte", "right_answer"}


@pytest.mark.parametrize("metric", ["bits_per_byte", "right_answer"])
def test_what_is_planted_is_found_on_average(metric):
    case, rng = Case("x", METRICS[metric], 400, 3, 1, 0.1, 0.0, 0.05), np.random.default_rng(3)
    found = [experiment(case, rng, 0.1).value for _ in range(60)]
    assert np.mean(found) == pytest.approx(0.1, abs=0.01)
