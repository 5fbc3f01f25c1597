"""A question in a column of its own: its context under it, its history before it."""

import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.questions import column_text, history, question
from fusionchat.corpus.keys import Unusable

BEFORE = [Message("user", "Hi"), Message("assistant", "Hello")]
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def test_contexts_are_under_the_question():
    said = {"prompt": "Add.", "context": "in words", "input": "2, 2"}
    assert question(said, "prompt") == (
        (Message("user", "Add.\n2, 2\nin words"),), {"prompt", "input", "context", "history"}, (),
    )  # fmt: skip
    assert question(said, "input").messages == (Message("user", "2, 2\nin words"),)


def test_a_question_may_be_a_list_of_turns():
    assert question({"prompt": TURNS, "input": "x"}, "prompt") == (tuple(BEFORE), {"prompt"}, ())


@pytest.mark.parametrize("value", [[["Hi", "Hello"]], TURNS])
def test_history_is_before_the_question(value):
    assert history(value) == BEFORE
    said = {"instruction": "Bye", "history": value}
    assert question(said, "instruction").messages == (*BEFORE, Message("user", "Bye"))


@pytest.mark.parametrize(
    "value", ["none", ["Hi", "Hello"], [["Hi"]], [["Hi", "Hello", "Bye"]], {"Hi": "Hello"}]
)
def test_a_history_of_something_else_is_refused(value):
    with pytest.raises(Unusable, match="`history` is not a list of pairs"):
        history(value)


def test_the_text_of_a_column():
    assert column_text("Hi", "c") == "Hi" and column_text(4, "c") == "4" and history([]) == []
    for value in (["Hi"], {"text": "Hi"}):
        with pytest.raises(Unusable, match="`c` is not text"):
            column_text(value, "c")
