"""One turn: roles and texts however they are spelled, and what no text can carry."""

import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.keys import Unusable
from fusionchat.corpus.turns import read_turn


def part(text):
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "user", "content": "Hi"}, Message("user", "Hi")),
        ({"from": "human", "value": "Hi"}, Message("user", "Hi")),
        ({"from": "gpt", "content": "Hi"}, Message("assistant", "Hi")),
        ({"role": "prompter", "text": "Hi"}, Message("user", "Hi")),
        ({"role": " ASSISTANT ", "content": "Hi"}, Message("assistant", "Hi")),
        ({"role": "User", "from": "human", "content": "Hi", "value": "Hi"}, Message("user", "Hi")),
        ({"role": "developer", "content": "Hi"}, Message("system", "Hi")),
        ({"role": "user", "content": [part("H"), part("i")]}, Message("user", "Hi")),
        ({"role": "user", "content": ["H", "i"]}, Message("user", "Hi")),
        ({"role": "user", "content": {"type": "text", "text": "Hi"}}, Message("user", "Hi")),
        ({"role": "user", "content": [part("Hi") | {"image_url": None}]}, Message("user", "Hi")),
        ({"role": "assistant", "content": 42}, Message("assistant", "42")),
        ({"role": "assistant", "content": "[]"}, Message("assistant", "[]")),
        ({"role": "user", "content": "", "value": None}, Message("user", "")),
        ({"role": "assistant", "content": "No.", "weight": 0}, Message("assistant", "No.", train=False)),
        ({"from": "gpt", "value": "No.", "train": False}, Message("assistant", "No.", train=False)),
        ({"from": "gpt", "value": "Yes.", "weight": None}, Message("assistant", "Yes.")),
        ({"from": "human", "value": "Hi", "weight": 0}, Message("user", "Hi")),
        (
            {"role": "assistant", "content": "Yes.", "tool_calls": [], "function_call": None},
            Message("assistant", "Yes."),
        ),
        (
            {"role": "assistant", "content": "4", "reasoning_content": "\n2 + 2\n"},
            Message("assistant", "<think>\n2 + 2\n</think>\n\n4"),
        ),  # as Qwen3's template writes it
        ({"role": "assistant", "content": "4", "reasoning_content": ""}, Message("assistant", "4")),
    ],
)
def test_turns_are_read_however_they_are_written(turn, message):
    assert read_turn(turn) == (message, ())


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ("Hi", "a turn is not an object"),
        ({"content": "Hi"}, "a turn without a role"),
        ({"role": "narrator", "content": "Hi"}, "wrong role"),
        ({"role": "user", "from": "gpt", "content": "Hi"}, "wrong role"),
        ({"role": "tool", "content": "4"}, "role `tool` is not supported"),
        ({"from": "Observation", "value": "4"}, "role `observation` is not supported"),
        ({"role": "assistant", "content": None}, "a turn without text"),
        ({"role": "assistant", "content": float("nan")}, "a turn without text"),
        ({"role": "assistant", "content": []}, "a turn without text"),
        (
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            "key `tool_calls` is not supported",
        ),
        ({"role": "user", "content": "Hi", "images": ["a.png"]}, "key `images` is not supported"),
        ({"role": "user", "content": "Hi", "value": "Ho"}, "a turn with two texts"),
        ({"role": "user", "content": [part("Hi"), {"type": "image"}]}, "a content part of type `image`"),
        ({"role": "user", "content": {"parts": ["Hi"]}}, "content is an object, not text"),
        ({"role": "user", "content": 4.5}, "content is a number, not text"),
        ({"role": "user", "content": True}, "content is true or false, not text"),
        ({"role": "user", "content": "\ud800"}, "not valid Unicode"),
        ({"role": "assistant", "content": "Hi", "weight": 0.5}, "`weight` is neither true nor false"),
        (
            {"role": "assistant", "content": "Hi", "train_detail": [{}]},
            "key `train_detail` is not supported",
        ),
        (
            {"role": "assistant", "content": "<think>a</think>b", "thinking": "c"},
            "thoughts both in a key and in the content",
        ),
    ],
)
def test_turns_that_cannot_be_used_say_why(turn, reason):
    with pytest.raises(Unusable) as caught:
        read_turn(turn)
    assert caught.value.reason == reason


def test_what_nothing_reads_is_handed_back():
    turn = {
        "role": "user",
        "content": [part("Hi") | {"mood": "sad"}],
        "name": "Ada",
        "weight": 1,
        "timestamp": 3,
    }
    assert read_turn(turn) == (
        Message("user", "Hi"),
        (
            "mood (of a content part)",
            "name (of a turn)",
            "weight (of a turn)",
        ),  # a user's turn is never trained on
    )


HI = {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ([{"type": "thinking", "thinking": "hm", "signature": "x"}, HI], {}),  # Anthropic
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True}, HI],
            {},
        ),  # Mistral
        ([{"type": "reasoning", "text": "hm"}, HI], {}),
        ([{"type": "reasoning", "reasoning": "\nhm\n"}, HI], {}),
        ("<think>\nhm\n</think>\n\nHi", {"reasoning_content": "hm"}),
        ([HI], {"reasoning": "hm"}),
    ],
)
def test_thoughts_in_parts_and_keys_are_one_block(content, keys):
    message, left = read_turn({"role": "assistant", "content": content} | keys)
    assert message.content == "<think>\nhm\n</think>\n\nHi" and not left


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "assistant", "content": [HI, {"type": "thinking", "thinking": "hm"}]}, "after other parts"),
        (
            {"role": "user", "content": [{"type": "thinking", "thinking": "hm"}, HI]},
            "outside an assistant turn",
        ),
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": 3}, HI]}, "not one text"),
        (
            {"role": "assistant", "content": "<think>a</think>Hi", "reasoning": "hm"},
            "in a key and in the content",
        ),
        (
            {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, HI]},
            "redacted_thinking",
        ),
        (
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "a"}, HI], "reasoning": "b"},
            "in a key and in the content",
        ),
    ],
)
def test_thoughts_that_have_no_place_are_rejects(turn, reason):
    with pytest.raises(Unusable, match=reason):
        read_turn(turn)


def test_an_empty_thought_is_none():
    assert (
        read_turn({"role": "assistant", "content": [{"type": "thinking", "thinking": ""}, HI]})[0].content
        == "Hi"
    )
