"""The search among merges of a run's targets."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from fusionchat.artifacts import sha256_file, write_json
from fusionchat.errors import FusionChatError
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.settings import FusedSettings
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.job import Context, Inputs, Job
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Frozen
from fusionchat.stages import search as stage
from fusionchat.stages.pipeline import open_run, run
from fusionchat.stages.search import Found, candidates, merge_found
from tests.stages.recipes import recipe
from tests.tiny import write_recipe


@pytest.mark.parametrize("metric", ["bits_per_byte", "exact_match"])
def test_a_search_tries_merges_without_training_and_takes_the_best(finished, tiny, metric):
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    candidates = [{"method": "linear"}, {"method": "task_arithmetic", "scale": 0.01}]
    candidates += [{"method": "ties", "density": [0.1, 0.2, 0.3]}]  # fails: there are two targets
    write_recipe(
        tiny / "recipe.yaml",
        search={"candidates": candidates, "metric": metric},
        evaluate={"exact_match": {"answer_pattern": "(?s)(.*)", "max_new_tokens": 2}},
    )
    begun = []
    done = run(
        load_recipe("recipe.yaml"),
        announce=lambda job, status: begun.append(job.stage) if status.state != "done" else None,
    )
    assert set(begun) == {"merge", "evaluate", "report"}
    found = json.loads((done.path("merge/search") / "search.json").read_text())
    assert [trial["method"]["method"] for trial in found["trials"]] == [
        "varm",
        "linear",
        "task_arithmetic",
        "ties",
    ]
    failed, scores = found["trials"][3], [trial["score"] for trial in found["trials"][:3]]
    assert failed["score"] is None and "3 values" in failed["reason"] and found["failed"] == 1
    best = found["trials"][int(np.argmin(scores))]["method"]
    assert found["best"] == best
    report = json.loads((done.path("report/report") / "report.json").read_text())
    assert report["fused"].startswith(f"search: {best['method']}")
    sign = 1 if metric == "bits_per_byte" else -1
    assert [trial["value"] for trial in report["trials"]] == [*(sign * score for score in scores), None]
    assert report["trial_metric"]["name"] == metric
    assert report["trials"][3]["reason"] == failed["reason"]
    assert report["merge"] == report["fused"].removeprefix("search: ")
    card = (done.path("merge/fused") / "model" / "README.md").read_text()
    assert f"- merge `{report['merge']}`; stored" in card
    assert "Merge search" in (done.path("report/report") / "report.html").read_text()
    fused = done.path("merge/fused") / "model" / "model.safetensors"
    assert sha256_file(fused) == sha256_file(done.path("merge/search") / "model" / "model.safetensors")


def by_exact_match(limit):
    exact = {"max_new_tokens": 4, "limit": limit}
    return EvaluateSettings.model_validate({"exact_match": exact, "dtype": "float32"})


def test_a_search_by_exact_match_needs_answers(finished, monkeypatch):
    from fusionchat.stages import evaluate as stage

    corpus = finished.path("corpus/corpus")
    unanswered = [replace(c, answer=None) for c in stage.read_part(corpus, "validation")]
    monkeypatch.setattr(stage, "read_part", lambda *_: unanswered)
    with pytest.raises(FusionChatError, match=r"search\.metric"):
        stage.validation_score(
            by_exact_match(None), "exact_match", corpus,
            finished.refs["pivot"], finished.recipe.runtime,
        )  # fmt: skip


@pytest.mark.parametrize(("limit", "asked"), [(2, 2), (None, 3)])
def test_a_search_by_exact_match_asks_as_many_as_an_evaluation_may(finished, monkeypatch, limit, asked):
    from types import SimpleNamespace

    from fusionchat.evaluate.tasks import exact_match
    from fusionchat.stages import evaluate as stage

    read = stage.read_part(finished.path("corpus/corpus"), "validation")[:5]
    answers = ["1", None, "2", "3", None]
    monkeypatch.setattr(
        stage, "read_part", lambda *_: [replace(c, answer=a) for c, a in zip(read, answers, strict=True)]
    )
    seen = []

    def answer(_model, _renderer, conversations, **_settings):
        seen.extend(c.answer for c in conversations)
        right = np.array([True, False, False][: len(conversations)])
        return SimpleNamespace(correct=right, unfinished=~right, replies=[""] * len(conversations))

    monkeypatch.setattr(exact_match, "exact_match", answer)
    score = stage.validation_score(
        by_exact_match(limit),
        "exact_match",
        finished.path("corpus/corpus"),
        finished.refs["pivot"],
        finished.recipe.runtime,
    )
    assert score(finished.path("merge/fused") / "model") == pytest.approx(-1 / asked)
    assert seen == ["1", "2", "3"][:asked]


def test_the_recipe_s_own_merge_is_tried_first_and_once():
    tried = [{"method": "linear"}, {"method": "varm"}, {"method": "linear"}]
    assert candidates(recipe(search={"candidates": tried})) == (Varm(), Linear())
    likely = candidates(recipe(merge="ties", search={}))
    assert likely[0] == Ties() and len(set(likely)) == len(likely) > 5


def evaluated(jobs):
    """Operations of an evaluation on the validation part."""
    return jobs["evaluate/validation/varm@0.5"].cost.flops


def test_jobs_of_a_search_with_two_seeds(tiny):
    """It tries merges of the first seed's targets; what it finds is made of the second seed's."""
    settings = ("search={candidates: [linear], minutes: 3}", "distill.seeds=2", "distill.sweep=[0.3]")
    jobs = open_run(load_recipe("recipe.yaml", settings)).jobs
    search, found = jobs["merge/search"], jobs["merge/search#2"]
    targets = [f"distill/{source}@{weight}" for source in ("mixtral", "qwen") for weight in (0.5, 0.3)]
    assert search.needs == ("corpus/corpus", "merge/selection", *targets)
    assert found.needs == ("merge/selection", "merge/search", *(f"{job}#2" for job in targets))
    tried, scored = 2, evaluated(jobs)
    assert search.cost.flops == pytest.approx(tried * (found.cost.flops + scored))
    assert search.resources.memory == jobs["evaluate/test/pivot"].resources.memory
    assert search.settings.search.minutes == 3 and search.settings.targets == ("mixtral", "qwen")
    assert search.settings.evaluate.dtype == "float32" and found.settings.number == 2
    assert found.settings.candidates == search.settings.search.candidates == (Varm(), Linear())


def test_what_a_search_found_is_made_of_another_seed_s_targets(tmp_path, monkeypatch):
    jobs = {"pivot": tmp_path / "p", **{f"distill/{s}@0.5#2": tmp_path / f"distill/{s}@0.5#2" for s in "ab"}}
    for folder in (tmp_path / "merge/search", tmp_path / "merge/selection"):
        folder.mkdir(parents=True)
    write_json(tmp_path / "merge/search/search.json", {"best": asdict(Varm(power=2.0))})
    write_json(tmp_path / "merge/selection/selection.json", {"label_weight": 0.5, "trials": {}})
    asked = []
    monkeypatch.setattr(stage, "models_in", lambda folders: asked.append(folders) or folders)
    monkeypatch.setattr(
        stage,
        "merge_into",
        lambda pivot, targets, method, out, **_: asked.append((pivot.name, targets, method)),
    )
    needs = ("merge/search", "merge/selection", *(name for name in jobs if name != "pivot"))
    ref = ModelRef("pivot", "p", "p")
    job = Job(
        stage="merge", name="search#2", version=1, settings=Frozen(), needs=needs, models={"pivot": ref}
    )
    settings = Found(
        number=2, candidates=(Varm(), Varm(power=2.0)), fused=FusedSettings(), targets=("a", "b")
    )
    merge_found(settings, Inputs(tmp_path, job), tmp_path / "out", Context(RuntimeSettings()))
    folders = {s: tmp_path / f"distill/{s}@0.5#2" for s in "ab"}
    assert asked == [folders, ("pivot", folders, Varm(power=2.0))]
