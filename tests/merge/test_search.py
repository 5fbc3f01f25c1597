"""Search: statistics once, the best by score, a budget, and going on after an interruption."""

import json
import shutil

import numpy as np
import pytest
import torch

from fusionchat.errors import MachineError, MergeError, ModelError
from fusionchat.merge.methods.base import MixtureMethod
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.spherical import Slerp
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.search import default_candidates, describe, search
from fusionchat.merge.stream.merge import inner_products, merge_models
from tests.merge.folders import family, load, random_tensors, save


def distance_to(folder):
    wanted = load(folder)
    return lambda model: float(sum(np.abs(v - wanted[k]).sum() for k, v in load(model).items()))


def test_search_finds_the_best_and_keeps_its_trials(tmp_path):
    pivot, targets = family(tmp_path, 2, scale=1e-2)
    merge_models(pivot, targets, TaskArithmetic(scale=0.7), tmp_path / "wanted", dtype="float32", threads=1)
    scored = []

    def score(model):
        scored.append(model)
        return distance_to(tmp_path / "wanted")(model)

    candidates = [Varm(), TaskArithmetic(scale=0.7), Linear(), Ties(), Varm()]
    report = search(pivot, targets, candidates, score, tmp_path / "work", dtype="float32", threads=1)
    assert report.best == TaskArithmetic(scale=0.7)
    assert len(scored) == len(report.trials) == 4
    assert json.dumps(report.to_json())
    assert not (tmp_path / "work/model").exists()
    again = search(
        pivot, targets, [*candidates, Varm(power=2)], score, tmp_path / "work", dtype="float32", threads=1
    )
    assert len(scored) == 5
    assert again.best == report.best
    shutil.copy(targets["t1"] / "model.safetensors", targets["t0"] / "model.safetensors")
    search(pivot, targets, [Varm()], score, tmp_path / "work", dtype="float32", threads=1)
    assert len(scored) == 6


def test_a_spent_budget_ends_the_search_after_the_first_trial(tmp_path):
    pivot, targets = family(tmp_path, 2)
    report = search(
        pivot, targets, [Varm(), Linear()], lambda _: 1.0, tmp_path / "work", budget_s=0.0, threads=1
    )
    assert len(report.trials) == 1
    assert [method["method"] for method in report.skipped] == ["linear"]
    with pytest.raises(MergeError, match="no merges to try"):
        search(pivot, targets, [], lambda _: 1.0, tmp_path / "work")


def failing(wrong):
    """A score that is wrong for some trials: a number, or an error to raise."""

    def score(model):
        score.calls += 1
        outcome = wrong.get(score.calls, float(score.calls))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    score.calls = 0
    return score


def test_a_candidate_that_fails_is_kept_with_its_reason_and_not_tried_again(tmp_path):
    pivot, targets = family(tmp_path, 3)
    candidates = [Slerp(), Varm(), Linear(), Ties(), Varm(power=2.0)]
    score = failing({2: float("nan"), 3: ModelError("no finite probability", do="look")})
    report = search(pivot, targets, candidates, score, tmp_path / "work", threads=1)
    assert [trial.score for trial in report.trials] == [None, 1.0, None, None, 4.0]
    slerp, nan, broken = (report.trials[n].reason for n in (0, 2, 3))
    assert "targets, not 3" in slerp and "nan" in nan and broken == "no finite probability"
    assert report.best == Varm() and report.failed == 3 and score.calls == 4
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert told["failed"] == 3 and told["trials"][0]["score"] is None and told["trials"][0]["reason"] == slerp
    assert not (tmp_path / "work/model").exists()
    again = search(pivot, targets, [*candidates, Varm(power=3.0)], score, tmp_path / "work", threads=1)
    assert again.trials[:5] == report.trials and score.calls == 5


def test_values_too_large_for_the_dtype_fail_that_candidate_alone(tmp_path):
    base = random_tensors(0)
    pivot = save(tmp_path / "p", base)
    far = save(tmp_path / "t", {name: value + 2e4 for name, value in base.items()})
    candidates = [TaskArithmetic(scale=4.0), Linear()]
    report = search(
        pivot, {"t": far}, candidates, lambda _: 1.0, tmp_path / "work", dtype="float16", threads=1
    )
    assert [trial.score for trial in report.trials] == [None, 1.0]
    assert "model.embed_tokens.weight" in report.trials[0].reason or "float16" in report.trials[0].reason


def test_a_spent_budget_still_waits_for_a_trial_that_does_not_fail(tmp_path):
    pivot, targets = family(tmp_path, 3)
    score, candidates = failing({}), [Slerp(), Varm(), Linear()]
    report = search(pivot, targets, candidates, score, tmp_path / "work", budget_s=0.0, threads=1)
    assert report.best == Varm() and len(report.trials) == 2 and len(report.skipped) == 1


def test_where_all_fail_the_first_reason_is_told(tmp_path):
    pivot, targets = family(tmp_path, 3)
    with pytest.raises(MergeError, match=r"None of 2 merges.*targets, not 3"):
        search(pivot, targets, [Slerp(), Varm()], failing({1: float("inf")}), tmp_path / "work", threads=1)


def test_what_is_wrong_with_the_inputs_or_the_machine_ends_the_search(tmp_path):
    pivot, targets = family(tmp_path, 2)
    score = failing({1: MachineError("The disk is full")})
    with pytest.raises(MachineError):
        search(pivot, targets, [Varm(), Linear()], score, tmp_path / "work", threads=1)
    assert not (tmp_path / "work/trials.json").exists()
    broken = random_tensors(1)
    broken["model.norm.weight"][3] = torch.nan
    save(targets["t1"], broken)
    with pytest.raises(MergeError, match=r"model\.norm\.weight"):
        search(pivot, targets, [Varm(), Linear()], score, tmp_path / "work", threads=1)
    assert score.calls == 1


def test_statistics_made_once_give_the_same_bytes(tmp_path):
    pivot, targets = family(tmp_path, 2)
    statistics = inner_products(pivot, targets, threads=1)
    for n, method in enumerate(default_candidates()):
        alone = merge_models(pivot, targets, method, tmp_path / f"a{n}", threads=1)
        informed = merge_models(pivot, targets, method, tmp_path / f"b{n}", threads=1, statistics=statistics)
        assert alone.files == informed.files, method
        if isinstance(method, MixtureMethod):
            assert alone.tensors == informed.tensors


def test_methods_are_described_by_what_is_not_default():
    assert describe(Varm()) == "varm"
    assert describe(Varm(power=2.0, granularity="layer")) == "varm granularity=layer power=2.0"
