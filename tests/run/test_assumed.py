"""Costs of models and a corpus that are not here."""

import pytest

from fusionchat.errors import RecipeError
from fusionchat.models.ref import ModelRef
from fusionchat.run.assumed import Assumed, assumed, assuming, parse
from fusionchat.run.estimate import parameters, part_tokens


def test_what_is_assumed_is_read_by_name():
    assert parse(("tokens=63e6", "pivot=7e9"), ("pivot", "a")) == Assumed(63e6, {"pivot": 7e9})
    for wrong in ("pivot", "b=3", "a=0", "tokens=x"):
        with pytest.raises(RecipeError, match="not NAME=NUMBER") as error:
            parse((wrong,), ("pivot", "a"))
        assert "tokens, pivot, a" in str(error.value)


def test_sizes_follow_from_it_inside_and_not_outside(tiny):
    from fusionchat.recipe.schema import load_recipe

    recipe, ref = load_recipe("recipe.yaml"), ModelRef("a", "nowhere/a", "nowhere/a")
    before = part_tokens(recipe, "train")
    with assuming(Assumed(63e6, {"a": 7e9})):
        assert parameters(ref) == 7_000_000_000 and part_tokens(recipe, "train") == 63e6
        assert part_tokens(recipe, "test") != 63e6
    assert part_tokens(recipe, "train") == before and assumed() == Assumed()
