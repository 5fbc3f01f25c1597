"""What mergekit is told of a merge."""

from pathlib import Path

import pytest
from benchmarks.real_chat_merges import METHODS, configuration

PIVOT, FIRST, SECOND = Path("/m/pivot"), Path("/m/a"), Path("/m/b")


@pytest.mark.parametrize(
    ("name", "base", "each", "shared"),
    [
        ("linear", None, {"weight": 1.0}, {}),
        ("ties", "/m/pivot", {"weight": 1.0, "density": 0.2}, {}),
        ("dare_ties", "/m/pivot", {"weight": 0.5, "density": 0.5}, {}),
        ("sce", "/m/pivot", None, {"select_topk": 0.1}),
        ("model_stock", "/m/pivot", None, {}),
        ("slerp", "/m/a", None, {"t": 0.5}),
        ("karcher", None, None, {}),
    ],
)
def test_configuration(name, base, each, shared):
    found = configuration(name, PIVOT, [FIRST, SECOND])
    assert found.get("base_model") == base
    assert found["parameters"] == shared
    assert [one["model"] for one in found["models"]] == ["/m/a", "/m/b"]
    assert [one.get("parameters") for one in found["models"]] == [each, each]
    assert (found["merge_method"], found["dtype"], found["out_dtype"]) == (name, "float32", "bfloat16")


def test_weights_of_added_changes_sum_to_one():
    """TIES divides by them itself; DARE with TIES does not."""
    assert 2 * METHODS["dare_ties"].each["weight"] == 1
