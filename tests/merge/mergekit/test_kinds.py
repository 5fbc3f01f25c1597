"""mergekit's methods by its names, against our methods' settings and the documentation."""

import pytest

from fusionchat.merge.mergekit.kinds import KINDS, WHOLE
from fusionchat.merge.methods import METHODS
from tests.shared import ROOT


def test_every_kind_names_settings_that_the_method_has():
    for kind in KINDS.values():
        fields = METHODS[kind.method].__dataclass_fields__
        assert set(kind.each.values()) | set(kind.shared.values()) | set(kind.fixed) <= set(fields)
        assert set(kind.defaults) <= set(kind.each) | set(kind.shared)


def test_the_documentation_says_which_defaults_differ():
    text = (ROOT / "docs/merge_methods.md").read_text()
    for name, setting in [
        ("ties", "density"), ("dare_*", "density"), ("della*", "density"), ("breadcrumbs*", "density"),
        ("sce", "select_topk"),
    ]:  # fmt: skip
        kind = next(kind for key, kind in KINDS.items() if key.startswith(name.rstrip("*")))
        ours = METHODS[kind.method].__dataclass_fields__[setting].default
        line = next(
            line for line in text.splitlines() if line.startswith(f"| `{setting}` of") and f"`{name}`" in line
        )
        assert line.endswith(f"| {kind.defaults[setting]:g} | {ours:g} |")


@pytest.mark.parametrize(
    ("name", "method", "fixed"),
    [
        ("della", "della", {"elect_sign": True}),
        ("della_linear", "della", {"elect_sign": False}),
        ("breadcrumbs", "breadcrumbs", {"elect_sign": False}),
        ("breadcrumbs_ties", "breadcrumbs", {"elect_sign": True}),
        ("dare_ties", "dare_ties", {}),
    ],
)
def test_variants_of_a_method_are_told_by_its_settings(name, method, fixed):
    assert (KINDS[name].method, dict(KINDS[name].fixed)) == (method, fixed)


def test_methods_over_a_base_model_need_one():
    needs = {name for name, kind in KINDS.items() if kind.base}
    assert {"task_arithmetic", "ties", "sce", "model_stock", "della_linear"} <= needs
    assert not needs & {"linear", "slerp", "karcher", "passthrough"} and KINDS["slerp"].base is False
    assert KINDS["nearswap"].base is False


def test_a_whole_model_is_passed_through_as_a_sum_of_one():
    assert (WHOLE.method, dict(WHOLE.fixed), dict(WHOLE.defaults)) == (
        "linear",
        {"normalize": False},
        {"scale": 1.0},
    )
