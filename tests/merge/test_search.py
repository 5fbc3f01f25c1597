"""Search: statistics once, the best by score, a budget, and going on after an interruption."""

import json

import numpy as np
import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.methods.base import MixtureMethod
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.search import default_candidates, describe, search
from fusionchat.merge.stream import inner_products, merge_models
from tests.merge.folders import family, load


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


def test_a_spent_budget_ends_the_search_after_the_first_trial(tmp_path):
    pivot, targets = family(tmp_path, 2)
    report = search(
        pivot, targets, [Varm(), Linear()], lambda _: 1.0, tmp_path / "work", budget_s=0.0, threads=1
    )
    assert len(report.trials) == 1
    assert [method["method"] for method in report.skipped] == ["linear"]
    with pytest.raises(MergeError, match="nothing"):
        search(pivot, targets, [], lambda _: 1.0, tmp_path / "work")


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
