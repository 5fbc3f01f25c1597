"""Columns beside the turns: where a system prompt and an answer go, and what only repeats the turns."""

import pytest

from fusionchat.corpus.columns import (
    answer_turns,
    inside,
    joined,
    repeats,
    same_texts,
    with_answer,
    with_system,
)
from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.base import ANSWER_COLUMNS, Turns
from fusionchat.corpus.keys import Unusable

SYSTEM, USER, REPLY = Message("system", "Arr."), Message("user", "Hi"), Message("assistant", "Hello")
MORE = Message("user", "More")
TURNS = Turns((USER, REPLY), frozenset(["messages"]))


def test_a_system_column_is_the_first_turn():
    assert with_system({"system_prompt": "Arr."}, TURNS) == (
        (SYSTEM, USER, REPLY),
        {"messages", "system_prompt"},
        (),
    )
    assert with_system({}, TURNS) is TURNS
    assert with_system({"system": "Arr."}, Turns(())) == Turns(())  # a prompt of no dialogue


def test_a_system_column_may_say_again_what_the_first_turn_says_and_nothing_else():
    turns = Turns((SYSTEM, USER, REPLY))
    assert with_system({"system": "Arr.", "system_message": "Arr."}, turns).messages == turns.messages
    with pytest.raises(Unusable, match="`system` differs from the system turn"):
        with_system({"system": "Ahoy."}, turns)


def test_the_answer_is_of_the_first_column_of_those_named():
    asked, said = Turns((USER,), frozenset(["prompt"])), {"output": "Hello", "completion": "Hey"}
    assert with_answer(said, asked, ANSWER_COLUMNS) == (
        (USER, Message("assistant", "Hey")), {"prompt", "completion"}, (),
    )  # fmt: skip
    assert with_answer(said, asked, ("output",)).messages == (USER, REPLY)
    assert with_answer(said, asked, ("chosen",)) is asked


def test_the_chosen_answer_uses_the_rejected_one_too():
    chosen = {"chosen": [{"role": "assistant", "content": "Hello", "mood": "good"}], "rejected": "No"}
    turns = with_answer(chosen, Turns((USER,), unused=("x",)), ("chosen",))
    assert turns == ((USER, REPLY), {"chosen", "rejected"}, ("x", "mood (of a turn)"))


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (Turns(()), "`chosen` has no question to answer"),
        (Turns((SYSTEM,)), "`chosen` has no question to answer"),
        (TURNS, "`chosen` does not follow the turns"),
    ],
)
def test_an_answer_to_nothing_is_refused(turns, reason):
    with pytest.raises(Unusable) as caught:
        with_answer({"chosen": "Bye"}, turns, ("chosen",))
    assert caught.value.reason == reason


def test_an_answer_is_a_text_a_turn_or_turns():
    turn = {"from": "gpt", "value": "Hello"}
    assert [answer_turns(value, "c").messages for value in ("Hello", turn, [turn])] == [(REPLY,)] * 3
    with pytest.raises(Unusable, match="`c` is not text"):
        answer_turns(["Hello"], "c")


@pytest.mark.parametrize(
    ("before", "answer", "whole"),
    [
        ((USER,), (REPLY,), (USER, REPLY)),  # it follows
        ((SYSTEM, USER), (REPLY,), (SYSTEM, USER, REPLY)),
        ((USER, REPLY), (REPLY,), (USER, REPLY)),  # it repeats the last turn
        ((USER, REPLY), (Message("assistant", "Bye"),), None),
        ((USER,), (USER, REPLY), (USER, REPLY)),  # it is the dialogue
        ((SYSTEM, USER), (USER, REPLY), (SYSTEM, USER, REPLY)),
        ((USER,), (SYSTEM, USER, REPLY), (SYSTEM, USER, REPLY)),
        ((MORE,), (USER, REPLY, MORE, REPLY), (USER, REPLY, MORE, REPLY)),  # it has the question inside
        ((MORE,), (USER, REPLY), None),
        ((), (REPLY,), None),
        ((), (), None),
    ],
)
def test_turns_and_their_answer_are_joined(before, answer, whole):
    assert joined(before, answer) == whole


def test_runs_of_turns_are_compared_by_role_and_text():
    assert same_texts([USER], [Message("user", "Hi", train=False)]) and not same_texts([USER], [MORE])
    assert not same_texts([USER], [Message("assistant", "Hi")])
    assert inside([REPLY, MORE], [USER, REPLY, MORE]) and not inside([USER, MORE], [USER, REPLY, MORE])


@pytest.mark.parametrize(
    ("value", "repeated"),
    [
        (" Hello\n", True),
        ("Bye", False),
        ([{"role": "user", "content": "Hi"}], True),
        ([{"role": "user", "content": "Bye"}], False),
        (["Hi"], False),
        ([], False),
        (4, False),
    ],
)
def test_a_column_that_says_again_what_the_turns_say(value, repeated):
    assert repeats(value, [USER, REPLY]) is repeated
