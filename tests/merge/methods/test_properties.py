"""Every method that is found, against its float64 reference and under changes that should not matter.

A new method is tried as soon as it has a reference in tests/reference/methods.py. Values are small multiples of 1/8: changes are
exact, and many are equal.
"""

import dataclasses
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fusionchat.merge.methods import METHODS, NAMES
from tests.merge.methods.arrays import fuse
from tests.reference.methods import ABSOLUTE, IN_ORDER, REFERENCES

SHAPE = (3, 5)
NOTHING = np.zeros((0, *SHAPE))
FEW = settings(max_examples=7)
CHOICES = {
    "density": [0.25, 0.5, 1.0], "gamma": [0.0, 0.2], "epsilon": [0.125], "power": [0.0, 0.5, 1.0, 2.0], "scale": [1.0, 0.5],
    "seed": [0, 7], "select_topk": [0.0, 0.3, 1.0], "t": [0.0, 0.3, 1.0],
}  # fmt: skip
"""What settings of these names are tried with; others stay as they are, but for switches and words, which are all tried."""
KINDS = {
    "general": lambda delta: delta,
    "one": lambda delta: delta[:1],
    "identical": lambda delta: np.repeat(delta[:1], len(delta), 0),
    "opposite": lambda delta: np.stack([delta[0], -delta[0]]),
    "unchanged": lambda delta: 0 * delta,
}
"""Changes of the targets, made of any changes."""


def eighths(*shape):
    """Arrays of multiples of 1/8 from -1.5 to 1.5; drawn as bytes, which is fast."""
    size = int(np.prod(shape))
    drawn = st.binary(min_size=size, max_size=size)
    return drawn.map(lambda held: (np.frombuffer(held, np.uint8) % 25 / 8.0 - 1.5).reshape(shape))


@st.composite
def choices(draw, name, targets):
    """Settings of a method for a number of targets."""
    kind, chosen = METHODS[name], {}
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.name == "weight":
            chosen["weight"] = tuple(
                draw(st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0]), min_size=targets, max_size=targets))
            )
        elif field.name in CHOICES:
            chosen[field.name] = draw(st.sampled_from(CHOICES[field.name]))
        elif hints[field.name] is bool:
            chosen[field.name] = draw(st.booleans())
        elif get_origin(hints[field.name]) is Literal and field.name != "method":
            chosen[field.name] = draw(st.sampled_from(get_args(hints[field.name])))
    return chosen


@st.composite
def cases(draw, name, kind="general"):
    """Settings of a method, a pivot, its targets' changes, and information about each element."""
    least, most = METHODS[name].targets
    most = most or 4
    delta = KINDS[kind](draw(eighths(draw(st.integers(min(max(least, 2), most), most)), *SHAPE)))[:most]
    assume(len(delta) >= least)
    information = np.abs(draw(eighths(*delta.shape))) if METHODS[name].needs_auxiliary else NOTHING
    return draw(choices(name, len(delta))), draw(eighths(*SHAPE)), delta, information


def merged(method, pivot, targets, information):
    return fuse(method, pivot, targets, auxiliary=information)[0].astype(np.float64)


def reference(name):
    assert name in REFERENCES, (
        f"write the reference of {name} in tests/reference/methods.py: ten lines of float64"
    )
    return REFERENCES[name]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_equals_its_reference(name, kind):
    if kind == "one" and METHODS[name].targets[0] > 1:
        return

    @FEW
    @given(cases(name, kind))
    def check(case):
        chosen, pivot, delta, information = case
        method, targets = METHODS[name](**chosen), pivot + delta
        expected = reference(name)(method, pivot, targets, information)
        assert_close(merged(method, pivot, targets, information), expected)

    check()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in IN_ORDER])
def test_the_order_of_targets_does_not_matter(name):
    @FEW
    @given(cases(name), st.randoms(use_true_random=False))
    def check(case, random):
        chosen, pivot, delta, information = case
        targets, order = pivot + delta, random.sample(range(len(delta)), len(delta))
        turned = chosen.copy()
        if "weight" in chosen:
            turned["weight"] = tuple(chosen["weight"][j] for j in order)
        mixed = information[order] if len(information) else information
        found = merged(METHODS[name](**turned), pivot, targets[order], mixed)
        assert_close(found, merged(METHODS[name](**chosen), pivot, targets, information))

    check()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ABSOLUTE])
def test_changes_scaled_by_a_power_of_two_scale_the_result(name):
    @FEW
    @given(cases(name), st.sampled_from([-30, 20]))
    def check(case, power):
        chosen, _, delta, information = case
        method, pivot, factor = METHODS[name](**chosen), np.zeros(SHAPE), 2.0**power
        scaled = merged(method, pivot, factor * delta, information)
        assert_close(scaled / factor, merged(method, pivot, delta, information))

    check()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "passthrough"])
def test_unchanged_targets_give_the_pivot(name):
    kind = METHODS[name]
    count = max(kind.targets[0], min(3, kind.targets[1] or 3))
    pivot = np.arange(15).reshape(SHAPE) / 7
    targets = np.repeat(pivot[None], count, 0)
    information = np.ones_like(targets) if kind.needs_auxiliary else NOTHING
    result, work = fuse(kind(), pivot, targets, auxiliary=information)
    np.testing.assert_allclose(result, pivot, rtol=2e-7)
    assert work.report().conflicts == 0


def test_a_method_without_a_reference_fails_by_name():
    with pytest.raises(AssertionError, match=r"write the reference of nosuch in tests/reference/methods\.py"):
        reference("nosuch")
    assert set(REFERENCES) == set(NAMES) and {*IN_ORDER, *ABSOLUTE} < set(NAMES)
