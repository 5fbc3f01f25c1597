"""The formats as a whole: which there are, and which one `auto` takes where several fit."""

import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats import FORMATS
from fusionchat.corpus.record import format_of, parse_record

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
HI = (Message("user", "Hi"), Message("assistant", "Hello"))


def test_the_order_of_auto():
    assert list(FORMATS) == [
        "messages", "sharegpt", "dialogue", "alpaca", "prompt_completion", "question_answer", "input_output",
    ]  # fmt: skip
    priorities = [one.priority for one in FORMATS.values()]
    assert priorities == sorted(set(priorities))
    assert all(FORMATS[name].name == name for name in FORMATS)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"messages": TURNS, "conversations": TURNS, "prompt": "Hi"}, "messages"),
        ({"conversations": TURNS, "dialogue": TURNS, "instruction": "Hi"}, "sharegpt"),
        ({"dialogue": TURNS, "instruction": "Hi"}, "dialogue"),
        ({"dialogue": "a text", "instruction": "Hi", "prompt": "Hi", "input": "x"}, "alpaca"),
        ({"prompt": "Hi", "question": "Hi", "input": "x"}, "prompt_completion"),
        ({"question": "Hi", "input": "x"}, "question_answer"),
        ({"query": "Hi", "response": "Hello"}, "question_answer"),
        ({"input": "Hi", "output": "Hello"}, "input_output"),
    ],
)
def test_auto_takes_the_first_that_fits(record, name):
    assert format_of(record, "auto") is FORMATS[name]
    assert format_of({"text": "x"} | record, "alpaca") is FORMATS["alpaca"]


def test_where_none_fits_the_chosen_answer_may_be_the_dialogue():
    assert format_of({"chosen": TURNS, "rejected": TURNS}, "auto") is None
    assert parse_record({"chosen": TURNS, "rejected": TURNS}, default_id="d").found.messages == HI


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("messages", "`messages`"),
        ("sharegpt", "`conversations`"),
        ("dialogue", "`conversation` or `dialogue` or `dialog` or `turns`"),
        ("alpaca", "`instruction` or `input`"),
        ("prompt_completion", "`prompt`"),
        ("question_answer", "`question` or `query`"),
        ("input_output", "`input`"),
    ],
)
def test_a_record_without_a_format_s_columns_says_which(name, keys):
    found = parse_record({"text": "x"}, default_id="d", format=name).found
    assert (found.reason, found.detail) == ("no messages", f"there is no key {keys}")


ALL = {
    "messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "one"}],
    "conversations": [{"from": "human", "value": "2"}, {"from": "gpt", "value": "two"}],
    "dialog": [{"role": "user", "content": "3"}, {"role": "assistant", "content": "three"}],
    "instruction": "4",
    "prompt": "5",
    "query": "6",
    "response": "written",
}


@pytest.mark.parametrize(
    ("name", "asked", "answered"),
    [
        ("messages", "1", "one"),
        ("sharegpt", "2", "two"),
        ("dialogue", "3", "three"),
        ("alpaca", "4", "written"),
        ("prompt_completion", "5", "written"),
        ("question_answer", "6", "written"),
        ("auto", "1", "one"),
    ],
)
def test_a_named_format_reads_its_own_column(name, asked, answered):
    found = parse_record(ALL, default_id="d", format=name).found
    assert found.messages == (Message("user", asked), Message("assistant", answered))
