"""The study of real chat LLMs: what a variant needs, and that its variants are what their names say."""

import pytest
from benchmarks.real_chat import BASES, CHEAPER, CHOSEN, VARIANTS, Variant, jobs_of, needed, slug

from fusionchat.recipe.schema import Recipe, load_recipe
from fusionchat.stages.names import evaluated
from fusionchat.stages.pipeline import open_run
from fusionchat.stages.variants import rows


def test_every_variant_has_a_base_and_a_folder_of_its_own():
    assert {variant.base for variant in VARIANTS.values()} <= BASES.keys()
    assert len({slug(name) for name in VARIANTS}) == len(VARIANTS)
    assert isinstance(CHOSEN, tuple)
    assert Variant("sft").base == "base"


@pytest.mark.parametrize(
    ("target", "own"),
    [
        ("sft", ["distill/sft", "evaluate/test/sft"]),
        ("qwen", ["fuse/qwen", "distill/qwen@0.5", "evaluate/test/targets/qwen@0.5"]),
        ("varm", ["distill/mixtral@0.5", "distill/qwen@0.5", "merge/varm@0.5", "evaluate/test/varm@0.5"]),
    ],
)
def test_jobs_of_a_variant_are_those_that_it_needs_in_order(tiny, target, own):
    found = jobs_of(load_recipe("recipe.yaml"), target)
    assert found[0] == "corpus/corpus" and found[-1] == own[-1]
    assert [job for job in found if job in own] == own
    assert ("distill/mixtral@0.5" in found) == (target == "varm")


@pytest.mark.parametrize(
    ("name", "wanted", "adapts"),
    [("self-distillation", "distill/pivot@0.5#2", True), ("SFT two passes", "distill/sft#2", False)],
)
def test_what_is_cheaper_has_rows_of_its_own(tiny, name, wanted, adapts):
    settings = [
        "adapt={pivot: {}}",
        "distill.seeds=3",
        "compare.sft_epochs=1",
        "compare.sft_seeds=3",
        *CHEAPER[name].settings,
    ]
    recipe = Recipe.load("recipe.yaml", settings)
    own = [row for row in rows(recipe) if row.kind in CHEAPER[name].kinds]
    assert len(own) >= 3 and {row.kind for row in own} == set(CHEAPER[name].kinds)
    assert recipe.compare.sft_epochs == (2 if name == "SFT two passes" else 1)
    found = needed(open_run(recipe).jobs, [evaluated("test", row) for row in own])
    assert wanted in found and ("adapt/pivot" in found) == adapts
    assert not any("qwen" in job for job in found)
