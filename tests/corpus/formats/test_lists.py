"""Turns from a list of them, in each way it is written."""

import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.lists import absent, looks_like_turn, of_pair, read_turns, rows
from fusionchat.corpus.keys import Unusable

TURNS = [{"role": "user", "content": "Hi"}, {"from": "gpt", "value": "Hello"}]
HI = (Message("user", "Hi"), Message("assistant", "Hello"))


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        (TURNS, HI),
        (TURNS[0], HI[:1]),
        ('  [{"role": "user", "content": "Hi"}]', HI[:1]),
        ({"from": ["human", "gpt"], "value": ["Hi", "Hello"]}, HI),
        ([{"input": "Hi", "output": "Hello"}], HI),
        ([], ()),
    ],
)
def test_a_list_of_turns_is_read_however_it_is_written(value, messages):
    assert read_turns(value, "c") == (messages, frozenset(["c"]), ())


def test_keys_of_turns_that_nothing_reads_are_named_once():
    turns = [turn | {"mood": "good"} for turn in TURNS]
    assert read_turns(turns, "c").unused == ("mood (of a turn)",)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[broken", "`c` is text, not a list of turns"),
        ("Hi", "`c` is not a list of turns"),
        ({"a": 1}, "`c` is not a list of turns"),
        (["Hi"], "a turn is not an object"),
    ],
)
def test_what_is_no_list_of_turns_says_so(value, reason):
    with pytest.raises(Unusable) as caught:
        read_turns(value, "c")
    assert caught.value.reason == reason


def test_a_pair_is_a_question_with_its_answer_and_what_is_with_them_is_the_answer_s():
    assert of_pair({"system": "Arr.", "input": "Hi", "output": "Hello", "weight": 0}) == [
        {"role": "system", "content": "Arr."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "weight": 0},
    ]
    assert of_pair({"question": "", "answer": "Hello"}) == [{"role": "assistant", "content": "Hello"}]
    assert of_pair(TURNS[0]) == [TURNS[0]] and of_pair("x") == ["x"]


@pytest.mark.parametrize(
    ("turn", "is_absent"),
    [
        ({"role": "system", "content": None}, True),
        ({"from": "system", "value": float("nan")}, True),
        ({"role": "system", "content": ""}, False),
        ({"role": "user", "content": None}, False),
        ({"role": "system"}, False),
        ("system", False),
    ],
)
def test_a_system_prompt_that_is_null_is_absent(turn, is_absent):
    assert absent(turn) is is_absent


def test_a_turn_has_a_role_and_a_text():
    assert looks_like_turn({"from": "gpt", "text": "Hi"}) and looks_like_turn({"role": "x", "content": None})
    assert not any(map(looks_like_turn, ({"role": "user"}, {"content": "Hi"}, "Hi", ["role", "content"])))


def test_one_list_a_key_is_a_turn_a_row():
    assert rows({"role": ["user", "assistant"], "content": ["a", "b"]}) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    with pytest.raises(Unusable, match="different numbers of roles and texts"):
        rows({"role": ["user"], "content": []})
