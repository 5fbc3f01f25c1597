"""Decoding and rounding, against torch's own and by hand."""

import numpy as np
import pytest
import torch

from fusionchat.merge.kernels import bf16


def hard():
    """Halves of either narrow type, moved off by less than float32 can say, subnormals, and the largest numbers."""
    rng = np.random.default_rng(0)
    value = np.concatenate([rng.normal(0, s, 3000) for s in (1, 1e-4, 6e-8, 1e-40, 3e4)])
    with np.errstate(over="ignore"):
        small = value.astype(np.float16).astype(np.float64)
    cut = (value.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32).astype(np.float64)
    narrow = np.concatenate([small, cut])
    halves = np.concatenate([narrow * (1 + 2.0**-11), cut * (1 + 2.0**-8)])
    ends = [0.0, -0.0, 65519.9, 65520.0, 2.0**-133, 1.5 * 2.0**-133, 0.5 * 2.0**-133, -(2.0**-140)]
    return np.concatenate([value, narrow, halves, halves * (1 + 2.0**-40), halves * (1 - 2.0**-40), ends])


def nearest(value, kind):
    """The nearest value of a type, ties to even, as float64: each neighbour that torch has, by distance."""
    wide = torch.from_numpy(value)
    middle = wide.to(kind)
    bits = middle.view(torch.int16).to(torch.int32)
    found = [middle.double()]
    for step in (-1, 1):
        near = (bits + step).to(torch.int16).view(kind).double()
        found.append(torch.where(near.isfinite() & ((bits & 0x7FFF) + step >= 0), near, middle.double()))
    apart = torch.stack([(one - wide).abs() for one in found])
    even = torch.stack([(one.to(kind).view(torch.int16) & 1).double() for one in found])
    best = torch.argmin(torch.where(apart == apart.min(0).values, even, torch.inf), 0)
    return torch.stack(found).gather(0, best[None])[0].numpy()


@pytest.mark.parametrize(("kind", "stored"), [(torch.bfloat16, np.uint16), (torch.float16, np.float16)])
def test_rounding_is_done_once(kind, stored):
    value = hard()
    value = value[np.abs(value) < 60000]
    raw, sums = np.empty(value.size, stored), np.zeros(3)
    pivot = np.full(value.size, np.float32(0.25))
    bf16.store(value.copy(), pivot, raw, sums)
    made = torch.from_numpy(raw.view(np.int16)).view(kind).double().numpy()
    np.testing.assert_array_equal(made, nearest(value, kind))
    np.testing.assert_array_equal(np.signbit(made), np.signbit(value))
    np.testing.assert_allclose(
        sums[:2], [((value - 0.25) ** 2).sum(), ((made - value) ** 2).sum()], rtol=1e-9
    )
    assert sums[2] == 0


@pytest.mark.parametrize(("stored", "value"), [(np.uint16, 3.4e38), (np.float16, 65520.0), (np.float32, 1e39),
                                               (np.uint16, np.nan)])  # fmt: skip
def test_what_is_not_finite_is_counted(stored, value):
    sums = np.zeros(3)
    bf16.store(np.array([1.0, value]), np.zeros(2, np.float32), np.empty(2, stored), sums)
    assert sums[2] == 1


def test_halves_go_to_even_by_hand():
    """Between 1 and 1 + 2^-7 lies a half, which goes to 1; the next one goes up. 257/256 of a subnormal stays."""
    value = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -(1 + 2.0**-8), 3 * 2.0**-134, 2.0**-134])
    raw = np.empty(5, np.uint16)
    assert bf16.round_bf16(value, np.empty(5), np.empty(5, np.float32), raw)
    out = np.empty(5, np.float32)
    bf16.decode_bf16(raw, out)
    assert out.tolist() == [1, 1 + 2.0**-6, -1, 2.0**-132, 0]


def test_rounding_to_odd_remembers_what_was_cut():
    value = np.array([1.0, 1 + 2.0**-30, 1 - 2.0**-40, -1 - 2.0**-30])
    out = np.empty(4, np.float32)
    bf16.to_odd(value, out)
    assert out.tolist() == [1, 1 + 2.0**-23, 1 - 2.0**-24, -1 - 2.0**-23]
