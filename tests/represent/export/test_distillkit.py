"""DistillKit's loss, written out from its lossfuncs/kl.py, on what is exported for it."""

import numpy as np
import pytest
import yaml

from fusionchat.represent.export.distillkit import DistillKit
from tests.represent.export.examples import ABOUT, example


def loss(student_LV, record):
    """Its sparse KL divergence with `symmetric_uniform`, summed over the places whose label is not negative."""
    ids, values = np.array(record["token_ids"]), np.array(record["top_values"], np.float32)
    own = np.log(np.take_along_axis(student_LV, ids, axis=1))
    p, q = np.exp(values), np.exp(own)
    eps = np.float32(1e-8)
    left = np.log1p(-np.clip(p.sum(1), eps, np.float32(1) - eps))
    own_left = np.log1p(-np.clip(q.sum(1), eps, 1 - 1e-8))
    kl = (p * (values - own)).sum(1) + np.exp(left) * (left - own_left)
    return kl[np.array(record["labels"]) >= 0].sum()


def test_the_distribution_for_a_token_is_in_the_row_before_it():
    record = DistillKit().record(example(), ABOUT)
    assert [len(record[name]) for name in DistillKit().schema(ABOUT).names] == [8] * 5
    assert list(record["token_ids"][2][:2]) == [13, 40] and list(record["token_ids"][3]) == [14, 50, 99]
    assert np.exp(record["top_values"][3]) == pytest.approx([0.5, 0.25, 0.125], rel=1e-3)


def test_labels_begin_one_token_early_since_its_mask_is_not_shifted():
    record = DistillKit().record(example(), ABOUT)
    assert list(record["labels"]) == [-100, -100, 12, 13, 14, -100, -100, -100]
    assert list(record["attention_mask"]) == [1] * 6 + [0] * 2


def test_a_row_without_a_distribution_holds_the_next_token():
    record = DistillKit().record(example(), ABOUT)
    assert record["token_ids"][4][0] == 15 and np.exp(record["top_values"][4][0]) == pytest.approx(
        1, abs=1e-5
    )
    assert record["token_ids"][5][0] == ABOUT.end, "after the last token the text ends"


def test_no_id_is_twice_in_a_row_and_every_value_is_finite():
    record = DistillKit().record(example(), ABOUT)
    assert all(len(set(ids.tolist())) == ABOUT.k for ids in record["token_ids"])
    assert np.isfinite(record["top_values"]).all()


def test_its_loss_is_zero_for_a_student_that_equals_the_target_and_right_for_another():
    record = DistillKit().record(example(), ABOUT)
    ids, values = np.array(record["token_ids"]), np.array(record["top_values"], np.float64)
    target = np.zeros((8, 100))
    np.put_along_axis(target, ids, np.exp(values), axis=1)
    rest = target == 0
    target += rest * (1 - target.sum(1, keepdims=True)) / rest.sum(1, keepdims=True)
    assert loss(target, record) == pytest.approx(0, abs=1e-6)
    # A uniform student: log(100) - entropy, tails as one bucket of 97 tokens.
    uniform = np.full((8, 100), 0.01)
    first = 0.75 * np.log(75) + 0.125 * np.log(12.5) + 0.125 * np.log(0.125 / 0.97)
    second = 0.5 * np.log(50) + 0.25 * np.log(25) + 0.125 * np.log(12.5) + 0.125 * np.log(0.125 / 0.97)
    assert loss(uniform, record) == pytest.approx(first + second + np.log(100), rel=2e-3)


def test_the_configuration_is_of_this_data():
    config = yaml.safe_load(DistillKit().notes(ABOUT)["config.yaml"])
    assert config["sequence_length"] == 8 and config["dataset"]["prepacked"] is True
    assert config["teacher"]["logprob_compressor"]["d"] == 100
    assert config["teacher"]["logprob_compressor"]["k"] == 3
