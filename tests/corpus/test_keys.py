"""Which keys are harmless, and what the switches of the loss say."""

import pytest

from fusionchat.corpus.keys import Unusable, bears_loss, given, harmless, missing


@pytest.mark.parametrize("value", [None, "", [], {}, float("nan"), {"a": None, "b": False, "c": []}])
def test_what_says_nothing_is_as_if_it_were_not_there(value):
    assert missing(value) and given({"key": value, "other": 0}) == {"other": 0}


@pytest.mark.parametrize("value", [0, False, "no", [None], {"a": 1}, 0.0])
def test_what_says_something_stays(value):
    assert not missing(value)


@pytest.mark.parametrize(
    ("key", "value", "is_harmless"),
    [
        ("prompt_id", "a1", True),
        ("conversation_hash", "ff", True),
        ("chosen-model", "gpt-4", True),
        ("score_chosen", 8.5, True),
        ("num_turns", 3, True),
        ("openai_moderation", [{"flagged": False}], True),
        ("custom_instruction", True, True),
        (
            "custom_instruction",
            "Speak like a pirate.",
            False,
        ),  # OpenHermes holds a flag there, others a prompt
        ("score_chosen", "see above", False),
        ("stop_words", ["a"], False),
        ("name", "Ada", False),
        ("persona", "a pirate", False),
    ],
)
def test_harmless_keys(key, value, is_harmless):
    assert harmless(key, value) is is_harmless


@pytest.mark.parametrize(
    ("turn", "bears"),
    [
        ({}, None),
        ({"weight": 1}, True),
        ({"weight": 0}, False),
        ({"weight": 0.0, "train": False}, False),
        ({"train": "false"}, False),
        ({"loss": True}, True),
        ({"masked": True}, False),
        ({"mask": False}, True),
        ({"loss_mask": 0}, False),
    ],
)
def test_switches_of_the_loss(turn, bears):
    assert bears_loss(turn) is bears


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"weight": 0.5}, "`weight` is neither true nor false"),
        ({"weight": -1}, "`weight` is neither true nor false"),
        ({"train": "maybe"}, "`train` is neither true nor false"),
        ({"mask": 1}, "`mask` is neither true nor false"),  # some mean "masked out", some "counts"
        ({"train": True, "weight": 0}, "keys that turn the loss on or off disagree"),
    ],
)
def test_switches_that_say_neither(turn, reason):
    with pytest.raises(Unusable) as caught:
        bears_loss(turn)
    assert caught.value.reason == reason
