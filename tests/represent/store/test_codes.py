"""Codes: known values, the error that is promised, order kept; bytes by place and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusionchat.represent.store.codes import (
    LEAST,
    NONE,
    STEP,
    by_place,
    by_value,
    decode,
    differences,
    encode,
    sums,
)


def test_known_codes():
    given_ = np.array([0.0, -(STEP**2), -((2 * STEP) ** 2), LEAST, -60.0, -np.inf], np.float16)
    assert encode(given_).tolist() == [0, 1, 2, NONE - 1, NONE - 1, NONE]
    assert decode(np.array([0, NONE - 1, NONE], np.uint8)).tolist() == [0.0, LEAST, -np.inf]


@given(st.floats(LEAST, 0.0, width=16))
def test_the_error_is_at_most_half_a_step_of_the_root(value):
    half = np.array([value], np.float16)
    back = decode(encode(half))[0]
    assert abs(np.sqrt(-float(back)) - np.sqrt(-float(half[0]))) <= STEP / 2 + 2e-3
    assert encode(decode(encode(half))) == encode(half)


def test_the_error_of_a_log_probability_is_bounded():
    """Every float16 from -16 to 0: half a step of the root is STEP r + STEP^2 / 4 of its square, rounded to float16."""
    every = -np.arange(2**15, dtype=np.uint16).view(np.float16).astype(np.float64)
    every = every[np.isfinite(every) & (every >= LEAST)]
    error = np.abs(decode(encode(every.astype(np.float16))).astype(np.float64) - every)
    bound = STEP * np.sqrt(-every) + STEP**2 / 4
    assert (error <= bound + 2.0**-11 * np.maximum(-every, 2.0**-14)).all() and (
        error / bound.clip(1e-9)
    ).max() > 0.99


def test_codes_keep_the_order():
    values = np.sort(np.random.default_rng(0).uniform(-30, 0, 1000).astype(np.float16))
    assert (np.diff(encode(values).astype(int)) <= 0).all()


def test_divergence_of_coded_distributions_is_small():
    """Of random softmax rows over 2,000 tokens, the ten largest and the tail: under 1e-4 nats."""
    rng = np.random.default_rng(1)
    logits = rng.gumbel(0, 1, (500, 2000)) * rng.uniform(0.5, 4, (500, 1))
    logp = -np.sort(-(logits - np.log(np.exp(logits).sum(1, keepdims=True))), axis=1)[:, :10]
    tail = np.log1p(-np.exp(logp).sum(1).clip(max=1 - 1e-9))
    events = np.concatenate([logp, tail[:, None]], axis=1)
    coded = decode(encode(events.astype(np.float16))).astype(np.float64)
    coded -= np.log(np.exp(coded).sum(1, keepdims=True))
    divergence = (np.exp(events) * (events - coded)).sum(1)
    assert 0 < divergence.mean() < 1e-4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float16, np.float32, np.int64])
@given(data=st.data())
def test_bytes_by_place_are_the_same_bytes(dtype, data):
    values = data.draw(arrays(dtype, st.integers(0, 40)))
    assert by_value(by_place(values), np.dtype(dtype)).tobytes() == values.tobytes()


def test_first_bytes_come_first():
    assert by_place(np.array([0x0102, 0x0304], "<u2")).tolist() == [2, 4, 1, 3]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
@given(data=st.data())
def test_differences_add_up(dtype, data):
    values = data.draw(arrays(dtype, st.tuples(st.integers(0, 5), st.integers(1, 6))))
    assert sums(differences(values), np.dtype(dtype)).tobytes() == values.tobytes()


def test_differences_by_hand():
    assert differences(np.array([[3, 5, 255, 1]], np.uint8)).tolist() == [[3, 2, 250, 2]]
