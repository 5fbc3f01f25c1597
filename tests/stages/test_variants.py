"""What a recipe makes, by hand."""

import pytest

from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.varm import Varm
from fusionchat.stages.names import Row, Trained
from fusionchat.stages.variants import (
    Training,
    later_trainings,
    main_merge,
    merges,
    opened_sources,
    rows,
    targets,
    targets_of,
    trainings,
)
from tests.stages.recipes import recipe

ONE = {"compare": {"sft": True, "sft_seeds": 1}}


def test_a_target_for_each_source_and_one_of_all():
    assert targets(recipe(**ONE)) == {"a": ("a",), "b": ("b",)}
    assert targets(recipe(compare={"all_sources": True})) == {"a": ("a",), "b": ("b",), "all": ("a", "b")}


def test_trainings_come_seed_by_seed():
    made = trainings(
        recipe(
            seed=5,
            distill={"label_weight": 0.9, "sweep": [0.5], "seeds": 2},
            compare={"sft": True, "sft_seeds": 1},
        )
    )
    assert [str(one.trained) for one in made] == [
        "sft",
        "a@0.9",
        "b@0.9",
        "a@0.5",
        "b@0.5",
        "a@0.9#2",
        "b@0.9#2",
        "a@0.5#2",
        "b@0.5#2",
    ]
    assert made[0] == Training(Trained(base="sft"), 5)
    assert made[1] == Training(Trained(base="a", weight=0.9), 5, "fuse/a", 0.9)
    assert len({one.seed for one in made}) == 2 and made[5].seed == made[8].seed != 5


def test_sft_may_have_more_seeds_and_the_pivot_may_learn_from_itself():
    made = trainings(recipe(compare={"sft": True, "sft_seeds": 3, "self_distillation": True}))
    assert [str(one.trained) for one in made] == ["sft", "a@0.9", "b@0.9", "pivot@0.9", "sft#2", "sft#3"]
    assert made[3].learns == "represent/pivot" and made[4].learns is None and made[4].label_weight == 1


def test_merges_of_one_method_are_numbered():
    made = merges(
        recipe(
            merge="varm",
            compare={"merges": ["linear", {"method": "varm", "power": 2}, {"method": "varm", "power": 0}]},
        )
    )
    assert made == {"varm": Varm(), "linear": Linear(), "varm-2": Varm(power=2.0), "varm-3": Varm(power=0.0)}
    assert main_merge(recipe(merge="linear")) == "linear"


def test_the_jobs_of_targets():
    assert targets_of(("a", "b"), 0.5, 1) == {"a": "distill/a@0.5", "b": "distill/b@0.5"}
    assert targets_of(("a",), 0.5, 3) == {"a": "distill/a@0.5#3"}


def names(**changes):
    return [(row.kind, row.name) for row in rows(recipe(**changes))]


def test_rows_come_in_the_order_of_the_table():
    assert names(**ONE) == [
        ("pivot", "pivot"), ("source", "sources/a"), ("source", "sources/b"), ("sft", "sft"),
        ("target", "targets/a@0.9"), ("target", "targets/b@0.9"), ("merge", "varm@0.9"),
    ]  # fmt: skip


def test_seeds_of_one_model_follow_each_other_and_the_sweep_s_choice_is_a_row():
    found = names(
        distill={"sweep": [0.5], "seeds": 2},
        search={},
        compare={"sft": True, "sft_seeds": 2, "self_distillation": True},
    )
    assert found[3:8] == [
        ("sft", "sft"), ("sft", "sft#2"), ("soup", "sft#soup"), ("self", "targets/pivot@0.9"), ("self", "targets/pivot@0.9#2")
    ]  # fmt: skip
    assert found[8:10] == [("target", "targets/a@0.9"), ("target", "targets/a@0.9#2")]
    assert found[12:16] == [
        ("merge", "varm@0.9"), ("merge", "varm@0.9#2"), ("target", "targets/a@best"), ("target", "targets/a@best#2")
    ]  # fmt: skip
    assert found[-2:] == [("merge", "search"), ("merge", "search#2")]


def test_a_server_s_model_cannot_be_evaluated():
    served = {"model": "n", "capture": {"backend": "endpoint", "url": "http://127.0.0.1:1/v1"}}
    made = recipe(sources={"a": "m", "b": served}, **ONE)
    assert opened_sources(made) == ["a"]
    assert Row(kind="source", base="b") not in rows(made) and Row(
        kind="target", base="b", weight=0.9
    ) in rows(made)


@pytest.mark.parametrize("name", ["sft", "pivot", "all"])
def test_no_source_is_called_as_what_is_made(name):
    with pytest.raises(ValueError, match=name):
        recipe(sources={name: "m"})


def test_later_rounds_train_every_target_further():
    made = recipe(
        rounds=2, distill={"label_weight": 0.9, "sweep": [0.5], "seeds": 2}, compare={"all_sources": True}
    )
    later = later_trainings(made)
    assert [str(one.trained) for one in later[:4]] == [
        "round2/a@0.9", "round2/b@0.9", "round2/all@0.9", "round2/a@0.5",
    ]  # fmt: skip
    assert len(later) == 12 and later == trainings(made)[-12:]
    assert later[1].learns == "fuse/round2/b@0.9" and later[3].label_weight == 0.5
    first = {one.seed for one in trainings(made)[:-12]}
    assert len({one.seed for one in later}) == 2 and not first & {one.seed for one in later}
    assert later_trainings(recipe()) == []


def test_every_round_s_models_are_rows_and_the_jobs_of_its_targets_are_its_own():
    assert names(rounds=2, **ONE)[4:] == [
        ("target", "targets/a@0.9"), ("target", "targets/b@0.9"), ("merge", "varm@0.9"),
        ("target", "targets/round2/a@0.9"), ("target", "targets/round2/b@0.9"), ("merge", "round2/varm@0.9"),
    ]  # fmt: skip
    assert targets_of(("a",), 0.5, 1, 2) == {"a": "distill/round2/a@0.5"}
