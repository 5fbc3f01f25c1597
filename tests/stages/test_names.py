"""What jobs and models are called: no source has the name of a model that FusionChat makes."""

from fusionchat.recipe.schema import RESERVED
from fusionchat.stages.names import (
    ALL,
    SELF,
    SFT,
    Row,
    Trained,
    aligned,
    answered,
    captured,
    corpus_of,
    distilled,
    evaluated,
    fused,
)


def test_no_source_can_be_called_as_a_model_that_is_made():
    assert {SFT, ALL, SELF} == RESERVED


def test_what_a_later_round_makes_is_in_folders_of_its_own():
    of = Trained(base="qwen", weight=0.9, number=2, round=3)
    assert answered(of) == corpus_of(of) == "answer/round3/qwen@0.9#2" and corpus_of(None) == "corpus/corpus"
    assert (
        captured("pivot", of) == "represent/round3/qwen@0.9#2/pivot"
        and captured("pivot") == "represent/pivot"
    )
    assert (
        aligned("qwen", of) == "align/round3/qwen@0.9#2/qwen"
        and fused("qwen", of) == "fuse/round3/qwen@0.9#2"
    )
    assert (
        distilled(of.before) == "distill/round2/qwen@0.9#2"
        and distilled(of.before.before) == "distill/qwen@0.9#2"
    )
    row = Row(kind="target", base="qwen", weight="best", round=2)
    assert evaluated("test", row) == "evaluate/test/targets/round2/qwen@best"
    assert row.maker(0.5) == "distill/round2/qwen@0.5"


def test_the_first_round_is_not_written_so_that_finished_jobs_stay_done():
    assert (
        "round" not in Trained(base="qwen").model_dump()
        and "round" not in Row(kind="sft", base="sft").model_dump()
    )
    assert Trained.model_validate(Trained(base="q", round=2).model_dump()) == Trained(base="q", round=2)
