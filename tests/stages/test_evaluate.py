"""The files that tasks read: looked at when a run is planned, and evaluations follow their content."""

import json

import pytest

from fusionchat.errors import CorpusError, FusionChatError
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.evaluate import task_files
from fusionchat.stages.pipeline import open_run
from tests.tiny import write_recipe

PLAIN = {"question": "1+1?", "options": ["1", "2"], "answer": 1}
SETTINGS = EvaluateSettings.model_validate({"multiple_choice": {"path": "q.jsonl"}})


def test_files_are_found_from_the_recipe_s_folder(tmp_path):
    with pytest.raises(CorpusError) as caught:
        task_files(SETTINGS, str(tmp_path))
    assert caught.value.where == "evaluate.multiple_choice.path"
    (tmp_path / "q.jsonl").write_text("")
    assert task_files(SETTINGS, str(tmp_path)) == {"multiple_choice.path": tmp_path / "q.jsonl"}
    assert task_files(EvaluateSettings(), str(tmp_path)) == {}


def test_an_evaluation_follows_the_content_of_its_file_and_validation_does_not(tiny):
    (tiny / "q.jsonl").write_text(json.dumps(PLAIN))
    write_recipe(
        tiny / "recipe.yaml",
        evaluate={"multiple_choice": {"path": "q.jsonl"}},
        distill={"label_weight": 0.9, "sweep": [0.5]},
    )

    def fingerprints():
        run = open_run(load_recipe(tiny / "recipe.yaml"))
        return {id: job.fingerprint for id, job in run.jobs.items() if job.stage == "evaluate"}

    before = fingerprints()
    (tiny / "q.jsonl").write_text(json.dumps(PLAIN | {"answer": 0}))
    after = fingerprints()
    assert {id.split("/")[1] for id in before if before[id] == after[id]} == {"validation"}
    assert {id.split("/")[1] for id in before if before[id] != after[id]} == {"test"}


def test_a_file_that_holds_no_questions_is_refused_before_any_work(tiny):
    (tiny / "q.jsonl").write_text(json.dumps(PLAIN) + '\n{"question": "?"}\n')
    write_recipe(tiny / "recipe.yaml", evaluate={"multiple_choice": {"path": "q.jsonl"}})
    with pytest.raises(CorpusError, match="options"):
        open_run(load_recipe(tiny / "recipe.yaml"))


def test_a_search_is_not_judged_by_the_questions_of_a_file(tiny):
    (tiny / "q.jsonl").write_text(json.dumps(PLAIN))
    write_recipe(
        tiny / "recipe.yaml",
        evaluate={"multiple_choice": {"path": "q.jsonl"}, "right_answer": {}},
        search={"candidates": ["linear"], "metric": "multiple_choice"},
    )
    with pytest.raises(FusionChatError, match="the same questions on validation and test"):
        load_recipe(tiny / "recipe.yaml")
    write_recipe(
        tiny / "recipe.yaml",
        evaluate={"right_answer": {}},
        search={"candidates": ["linear"], "metric": "right_answer"},
    )
    assert load_recipe(tiny / "recipe.yaml").search.metric == "right_answer"
