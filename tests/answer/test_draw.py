"""Tokens are drawn from the distribution that the settings say, each answer by numbers of its own."""

import numpy as np
import pytest
import torch

from fusionchat.answer.draw import Draw, pick, uniforms

LOGITS = torch.log(torch.tensor([0.1, 0.4, 0.2, 0.3]))


def drawn(uniform, **settings):
    """The tokens at some places of [0, 1)."""
    u = torch.tensor(uniform, dtype=torch.float64)
    return pick(LOGITS.expand(len(u), 4), u, **{"temperature": 1.0, "top_p": 1.0} | settings).tolist()


def test_the_sums_of_the_masses_decide():
    assert drawn([0.0, 0.09, 0.11, 0.49, 0.51, 0.69, 0.71, 0.999]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_frequencies_are_the_masses_at_a_temperature():
    u = ((np.arange(10_000) + 0.5) / 10_000).tolist()
    for temperature in (1.0, 0.5, 2.0):
        want = torch.softmax(LOGITS.double() / temperature, 0)
        found = np.bincount(drawn(u, temperature=temperature), minlength=4) / len(u)
        assert np.abs(found - want.numpy()).max() < 2e-4


def test_the_nucleus_is_the_fewest_tokens_with_the_mass():
    u = ((np.arange(1000) + 0.5) / 1000).tolist()
    found = np.bincount(drawn(u, top_p=0.65), minlength=4) / len(u)
    assert found == pytest.approx([0, 4 / 7, 0, 3 / 7], abs=2e-3)
    assert set(drawn(u, top_p=1e-6)) == {1}  # the likeliest is always in it


def test_a_token_without_mass_is_never_drawn_not_even_at_the_ends():
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]] * 2)
    ends = torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert pick(logits, ends, temperature=1.0, top_p=1.0).tolist() == [1, 2]


def test_numbers_depend_on_seed_and_name_alone():
    one = uniforms(0, "a", 5)
    assert (uniforms(0, "a", 9)[:5] == one).all()
    assert (one != uniforms(1, "a", 5)).all() and (one != uniforms(0, "b", 5)).all()
    assert ((uniforms(3, "x", 1000) >= 0) & (uniforms(3, "x", 1000) < 1)).all()


def test_each_step_leaves_its_token_and_none_past_the_vocabulary():
    draw = Draw(
        torch.tensor([[0.05, 0.99], [0.6, 0.2]], dtype=torch.float64),
        vocabulary=4,
        temperature=1.0,
        top_p=1.0,
    )
    scores = torch.cat([LOGITS, torch.tensor([50.0])]).expand(2, 5)
    ids = torch.zeros(2, 1, dtype=torch.long)
    first, second = draw(ids, scores), draw(ids, scores)
    assert first.argmax(1).tolist() == [0, 2] and second.argmax(1).tolist() == [3, 1]
    assert torch.isfinite(first).sum(1).tolist() == [1, 1]
