import gzip
import json

import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.errors import CorpusError
from fusionchat.evaluate.choice.file import read_questions
from fusionchat.evaluate.choice.question import Question

PLAIN = {"question": "1+1?", "options": ["1", " 2 ", "3"], "answer": 1}


def write(path, *records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def test_questions_are_read_in_either_form(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    other = {
        "messages": turns,
        "options": ["So.", "No."],
        "answer": "No. ",
        "domain": "talk",
        "id": "w",
        "level": 3,
    }
    found = read_questions(write(tmp_path / "q.jsonl", PLAIN, other))
    assert found == [
        Question("question-000001", (Message("user", "1+1?"),), "", ("1", "2", "3"), 1),
        Question(
            "w", (Message("system", "Be brief."), Message("user", "Why?")), "", ("So.", "No."), 1, "talk"
        ),
    ]


def test_a_packed_file_is_read(tmp_path):
    path = tmp_path / "q.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(PLAIN).encode()))
    assert len(read_questions(path)) == 1


def test_a_text_that_is_a_number_is_an_option_s_text(tmp_path):
    (found,) = read_questions(write(tmp_path / "q.jsonl", PLAIN | {"answer": "1"}))
    assert found.right == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"options": ["1"]}, "options"),
        ({"options": ["1", 2]}, "options.1"),
        ({"options": ["1", ""]}, "An option is empty"),
        ({"options": ["1", "2", "1 "]}, "Two options are the same"),
        ({"answer": 3}, "from 0 to 2, or its text; it is 3"),
        ({"answer": -1}, "it is -1"),
        ({"answer": "B"}, "it is 'B'"),
        ({"answer": None}, "answer"),
        ({"answer": True}, "answer"),
        ({"question": None}, "`question` or `messages`, one of them"),
        ({"messages": [{"role": "user", "content": "?"}]}, "one of them"),
        ({"question": None, "messages": []}, "ends with a user's turn"),
        ({"question": None, "messages": [{"role": "bot", "content": "?"}]}, "messages.0.role"),
        ({"question": None, "messages": [{"role": "assistant", "content": "?"}]}, "ends with a user's turn"),
    ],
)
def test_a_record_that_is_no_question_is_refused_with_its_number(tmp_path, change, said):
    path = write(tmp_path / "q.jsonl", PLAIN, PLAIN | change)
    with pytest.raises(CorpusError) as caught:
        read_questions(path)
    assert said in caught.value.what and caught.value.where == f"{path}, record 2"


def test_what_holds_no_questions_is_refused(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(PLAIN) + "\n{not json\n")
    with pytest.raises(CorpusError, match="not JSON"):
        read_questions(path)
    path.write_text("")
    with pytest.raises(CorpusError, match="no question"):
        read_questions(path)
    with pytest.raises(CorpusError, match="Two questions have the id 'a'"):
        read_questions(write(path, PLAIN | {"id": "a"}, PLAIN, PLAIN | {"id": "a"}))
