"""The two runs that are compared: two rounds, and one with the epochs of both."""

import pytest
from benchmarks.real_rounds import Runs

from tests.stages.recipes import recipe


def test_both_runs_train_as_long_and_what_is_measured_is_the_target_of_each_round(tmp_path):
    given = recipe(
        sources={"a": "m"}, rounds={"n": 2, "epochs": 1.5}, distill={"epochs": 2, "label_weight": 0.5}
    )
    runs = Runs.of(given, tmp_path)
    assert runs.rounds.rounds == given.rounds and runs.longer.rounds.n == 1
    assert (runs.rounds.distill.epochs, runs.longer.distill.epochs) == (2, 3.5)
    assert runs.rounds.run_folder == tmp_path / "rounds" and runs.longer.run_folder == tmp_path / "longer"
    jobs = {name: (made.name, job) for name, (made, job) in runs.jobs.items()}
    assert jobs["round 2"] == ("rounds", "evaluate/test/targets/round2/a@0.5")
    assert (
        jobs["longer"] == ("longer", "evaluate/test/targets/a@0.5")
        and jobs["a"][1] == "evaluate/test/sources/a"
    )


def test_one_source_is_compared():
    with pytest.raises(ValueError, match="unpack"):
        Runs.of(recipe(), "w")
