import gzip
import json

import pytest

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.evaluate.choice.question import Exchange
from fusionchat.evaluate.tasks.base import Subject
from fusionchat.evaluate.tasks.right_answer import RightAnswer
from tests.shared import SHARED, needs_shared


def test_the_option_is_how_the_answer_begins():
    one = Exchange("c", (Message("user", "?"),), "She has 3 ducks.", "math")
    assert RightAnswer().question(one) == ("", "", "She has 3 ducks.")
    assert RightAnswer(max_bytes=9).question(one) == ("", "", "She has 3")


@needs_shared
def test_gsm8k_makes_questions_of_four_worked_answers_of_like_length():
    path = SHARED / "chat" / "gsm8k_test.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines][:400]
    talks = [
        Conversation(r["id"], tuple(Message(m["role"], m["content"]) for m in r["messages"]), r["domain"])
        for r in records
    ]
    found, unmade = RightAnswer(limit=100).questions(Subject(None, None, talks, [], "cpu", 1))
    assert (len(found), unmade) == (100, 0)
    answers = {talk.id: talk.messages[-1].content for talk in talks}
    for question in found:
        assert len(set(question.options)) == 4 and question.domain == "math"
        assert answers[question.id].startswith(question.options[question.right])
        assert all(any(a.startswith(o) for a in answers.values()) for o in question.options)
        assert max(map(len, question.options)) <= 2 * min(map(len, question.options))
    right = [question.right for question in found]
    assert all(right.count(place) >= 10 for place in range(4))
