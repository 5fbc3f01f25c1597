"""Weights on the bf16 grid at random: neighbours only, right on average, the same for the same seed, and undone bit for bit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import Parameter

from fusionchat.distill.rounding import (
    BLOCK,
    carry,
    carry_here,
    draws,
    joined,
    on_grid,
    parted,
    restore_,
    round_,
    take_back,
    take_back_here,
)

CPU = torch.device("cpu")
MOST = 2.0**127
FINITE = st.floats(-MOST, MOST, width=32, allow_subnormal=False)


@given(st.lists(FINITE, min_size=1, max_size=9), st.integers(0, 99))
def test_a_weight_becomes_one_of_its_neighbours_and_comes_back(values, seed):
    weight = torch.tensor(values)
    before = weight.clone()
    low = round_(weight, draws(seed, 0, 0, CPU))
    on = weight.bfloat16().float()
    below = (before.view(torch.int32) & -(2**16)).view(torch.float32)
    above = ((before.view(torch.int32) & -(2**16)) + 2**16).view(torch.float32)
    on_the_grid = before == below
    assert torch.equal(on[on_the_grid], before[on_the_grid])
    assert bool(((on == below) | (on == above)).all())
    restore_(weight, low)
    assert torch.equal(weight.view(torch.int32), before.view(torch.int32))


def test_a_cpu_and_a_gpu_round_alike():
    torch.manual_seed(0)
    before = torch.randint(-(2**31), 2**31, (1000,), dtype=torch.int64).to(torch.int32)
    before[:4] = torch.tensor([-(2**31), 2**31 - 1, -1, 0], dtype=torch.int32)
    dice = torch.randint(-(2**15), 2**15, (1000,)).to(torch.int16)
    dice[:4] = -1  # all 16 bits
    there, here = before.clone(), before.clone()
    low_there, low_here = torch.empty_like(dice), torch.empty_like(dice)
    carry(there, dice, low_there)
    carry_here(here.numpy(), dice.numpy(), low_here.numpy())
    assert torch.equal(there, here) and torch.equal(low_there, low_here)
    take_back(there, low_there)
    take_back_here(here.numpy(), low_here.numpy())
    assert torch.equal(there, before) and torch.equal(here, before)


@pytest.mark.parametrize("low", [0.25, 0.9])
def test_the_share_that_goes_up_is_the_lower_half(low):
    step = 2.0**-8  # of the grid between 0.5 and 1
    weight = torch.full((BLOCK + 5,), -(0.5 + low * step))
    round_(weight, draws(7, 3, 1, CPU))
    up = (weight.bfloat16() == -(0.5 + step)).double().mean()
    assert float(up) == pytest.approx(low, abs=4 * (low * (1 - low) / len(weight)) ** 0.5)


def test_draws_depend_on_seed_step_and_part():
    drawn = {draws(*key, CPU).initial_seed() for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))}
    assert len(drawn) == 4 and draws(1, 2, 3, CPU).initial_seed() == draws(1, 2, 3, CPU).initial_seed()


def test_matrices_are_on_the_grid_inside_alone():
    torch.manual_seed(0)
    matrix, vector, wide = (
        Parameter(torch.randn(3, 5)),
        Parameter(torch.randn(5)),
        Parameter(torch.randn(2, 2).double()),
    )
    before = [one.detach().clone() for one in (matrix, vector, wide)]

    def inside(step):
        with on_grid([matrix, vector, wide], seed=1, step=step):
            assert not torch.equal(matrix, before[0])
            assert torch.allclose(matrix, matrix.bfloat16().float(), rtol=2.0**-22, atol=0.0)
            assert torch.equal(vector, before[1]) and torch.equal(wide, before[2])
            return matrix.detach().bfloat16()

    first, again, other = inside(0), inside(0), inside(1)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert all(torch.equal(a, b) for a, b in zip((matrix, vector, wide), before, strict=True))


@given(st.lists(FINITE, min_size=1, max_size=9), st.integers(0, 99))
def test_a_weight_in_two_halves_loses_its_lowest_bit(values, seed):
    weight = torch.tensor(values)
    wanted = weight.view(torch.int32) & -2
    upper, low = parted(weight, draws(seed, 0, 0, CPU))
    assert upper.dtype == torch.bfloat16 and low.dtype == torch.int16
    assert torch.equal(joined(upper, low).view(torch.int32), wanted)
