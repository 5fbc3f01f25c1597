import pytest

from fusionchat.distill.seeds import nth, seed_of, seed_of_round
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.pipeline import open_run
from fusionchat.stages.variants import trainings
from tests.tiny import SETTINGS, write_recipe


def test_the_first_training_has_the_recipe_s_seed_and_its_plain_name():
    assert nth("sft", 1) == "sft" and nth("mixtral@0.9", 3) == "mixtral@0.9#3"
    assert [seed_of(seed, 1) for seed in (0, 42)] == [0, 42]


def test_no_two_trainings_of_neighbouring_recipes_share_a_seed():
    """With seed + 1 a run of seed 0 and one of seed 1 would hold the same training, and hide how far they differ."""
    found = [seed_of(seed, number) for seed in range(20) for number in range(1, 6)]
    assert len(set(found)) == len(found)
    assert all(0 <= seed < 2**31 for seed in found)
    assert seed_of(0, 2) == 0xDDA31EB9 >> 1  # sha256 of "0#2"


@pytest.mark.parametrize(
    ("compare", "seeds", "names"),
    [
        ({}, 1, ["sft", "mixtral@0.5", "qwen@0.5", "sft#2"]),  # as many as there are sources
        ({"sft_seeds": 1}, 1, ["sft", "mixtral@0.5", "qwen@0.5"]),
        ({"sft_seeds": 0}, 1, ["mixtral@0.5", "qwen@0.5"]),
        ({"sft": False, "sft_seeds": 3}, 1, ["mixtral@0.5", "qwen@0.5"]),
        (
            {"sft_seeds": 1, "self_distillation": True},
            2,
            ["sft", "mixtral@0.5", "qwen@0.5", "pivot@0.5", "mixtral@0.5#2", "qwen@0.5#2", "pivot@0.5#2"],
        ),
    ],
)
def test_what_is_trained(tiny, compare, seeds, names):
    write_recipe(tiny / "recipe.yaml", compare=compare, distill=SETTINGS["distill"] | {"seeds": seeds})
    run = open_run(load_recipe("recipe.yaml"))
    assert [str(training.trained) for training in trainings(run.recipe)] == names
    by_seed = {training.seed for training in trainings(run.recipe)}
    assert len(by_seed) == max(seeds, 2 if names[-1] == "sft#2" else 1)


def test_self_distillation_learns_what_the_pivot_says(tiny):
    write_recipe(
        tiny / "recipe.yaml",
        compare={"self_distillation": True},
        distill=SETTINGS["distill"] | {"sweep": [0.1]},
    )
    run = open_run(load_recipe("recipe.yaml"))
    own = [training for training in trainings(run.recipe) if training.learns == "represent/pivot"]
    assert [(str(training.trained), training.label_weight) for training in own] == [("pivot@0.5", 0.5)]
    assert run.jobs["distill/pivot@0.5"].needs == ("corpus/corpus", "represent/pivot")


def test_seeds_are_counted_in_the_plan(tiny):
    """One more seed of SFT is a training, a soup of two and two evaluations more."""
    first = set(open_run(load_recipe("recipe.yaml")).jobs)
    more = set(open_run(load_recipe("recipe.yaml", ("compare.sft_seeds=2",))).jobs)
    new = {"distill/sft#2", "merge/sft#soup", "evaluate/test/sft#2", "evaluate/test/sft#soup"}
    assert more - first == new
    jobs = open_run(load_recipe("recipe.yaml", ("compare.sft_seeds=2",))).jobs
    assert jobs["distill/sft#2"].cost == jobs["distill/sft"].cost


def test_sft_may_have_passes_and_a_rate_of_its_own(tiny):
    """SFT at its best is what a gain has to beat; the targets' trainings stay as they are."""
    run = open_run(load_recipe("recipe.yaml", ("distill.epochs=3",)))
    own = ("distill.epochs=3", "compare.sft_epochs=1", "compare.sft_learning_rate=3e-4")
    other = open_run(load_recipe("recipe.yaml", own))
    sft, was = (of.jobs["distill/sft"].settings.distill for of in (other, run))
    assert sft == was.model_copy(update={"epochs": 1, "learning_rate": 3e-4}) != was
    changed = {job for job in run.jobs if other.jobs[job].settings != run.jobs[job].settings}
    assert {job for job in changed if job.startswith("distill/")} == {"distill/sft"}
    assert other.jobs["distill/sft"].cost.flops == pytest.approx(run.jobs["distill/sft"].cost.flops / 3)


def test_every_round_has_a_seed_of_its_own_and_the_first_the_training_s():
    found = {seed_of_round(seed, number) for seed in range(20) for number in range(1, 5)}
    assert seed_of_round(7, 1) == 7 and len(found) == 80 and all(0 <= seed < 2**31 for seed in found)
