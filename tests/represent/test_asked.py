"""What a backend is asked for, and where the recipe says so."""

import pytest

from fusionchat.models.ref import ModelRef
from fusionchat.represent.asked import Asked


@pytest.mark.parametrize(("name", "place"), [("pivot", "pivot.capture"), ("qwen", "sources.qwen.capture")])
def test_errors_name_the_recipe_s_place(name, place):
    asked = Asked(ModelRef(name, "m", "m"), vocabulary=9, k=3, dtype="auto", device="cpu", batch_tokens=8)
    assert asked.place == place and asked.samples == () and asked.longest == 0
