"""The study of real chat LLMs: what a variant needs, and that its variants are what their names say."""

import pytest
from benchmarks.real_chat import BASES, CHOSEN, VARIANTS, Variant, jobs_of, slug

from fusionchat.recipe.schema import load_recipe


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
