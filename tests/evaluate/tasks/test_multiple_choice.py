import json

import pytest

from fusionchat.errors import CorpusError
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.evaluate.tasks.base import PartSize, Subject
from fusionchat.evaluate.tasks.multiple_choice import MultipleChoice
from tests.evaluate.tasks.test_choice import Renders, silent
from tests.evaluate.tasks.toys import KNOWN


@pytest.fixture
def path(tmp_path):
    records = [
        {"question": c.id, "options": [f"= {c.answer}", "HELLO"], "answer": f"= {c.answer}"} for c in KNOWN
    ]
    records[1]["answer"] = 1
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def test_a_model_is_asked_what_the_file_asks(taught, path):
    task = MultipleChoice(path="q.jsonl", limit=2)
    found = task.measure(
        Subject(taught, Renders(), [], [], "cpu", 99, {"multiple_choice.path": path}), silent
    )
    items = found.items["multiple_choice"]
    assert items.ids == ("question-000001", "question-000002") and items.values.tolist() == [1, 0]


def test_a_file_is_looked_at_before_any_work(path):
    settings = EvaluateSettings.model_validate({"multiple_choice": {"path": "q.jsonl"}})
    assert settings.reads == {"multiple_choice.path": "q.jsonl"} and EvaluateSettings().reads == {}
    settings.refuse({"multiple_choice.path": path})
    path.write_text(path.read_text() + '{"question": "?"}\n')
    with pytest.raises(CorpusError, match="options"):
        settings.refuse({"multiple_choice.path": path})


def test_it_measures_no_part_of_the_corpus():
    task = MultipleChoice(path="q.jsonl")
    assert task.places(KNOWN) == [] and not task.from_corpus


def test_each_option_of_the_file_is_a_pass(tmp_path):
    """Two questions of 8 letters, with options of 4 and 8: 12 + 16 letters each."""
    one = {"question": "WHAT IS?", "options": ["YES.", "NO WAY.."], "answer": 0}
    (tmp_path / "q.jsonl").write_text(3 * (json.dumps(one) + "\n"))
    found = MultipleChoice(path="q.jsonl", limit=2).tokens(PartSize(9e9, 9.0), {"path": tmp_path / "q.jsonl"})
    assert found == 2 * (12 + 16) / 4
