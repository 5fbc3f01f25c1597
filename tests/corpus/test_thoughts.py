import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.thoughts import (
    TAGS,
    needs_care,
    opening,
    split,
    spoken,
    with_opening,
    with_openings,
    without,
)

PIECES = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "[THINK]", "[/THINK]", "\n", " ", "a", "<thinking>", "</thinking>"]
    )
)


@given(PIECES)
def test_parts_add_up(pieces):
    content = "".join(pieces)
    found = split(content)
    if found is not None:
        assert found.opening + found.words + found.closing + found.answer == content
        assert needs_care(content)
    assert content.endswith(without(content))


@pytest.mark.parametrize("begin, end", TAGS)
def test_the_parts_of_a_thought(begin, end):
    found = split(f"{begin}\nTwo and two.\n{end}\n\nFour.")
    assert found[:4] == (f"{begin}\n", "Two and two.", f"\n{end}\n\n", "Four.")
    assert without(f"  {begin}hm{end}Hi") == "Hi" and without(f"{begin}\n\n{end}\n\nHi") == "Hi"


def test_thoughts_that_begin_in_the_prompt_or_are_cut():
    assert split("hm\n</think>\n\nHi")[:4] == ("", "hm", "\n</think>\n\n", "Hi")
    assert split("<think>\nhm")[:4] == ("<think>\n", "hm", "", "") and without("<think>\nhm") == ""


@pytest.mark.parametrize(
    "content",
    [
        "Hi",
        "",
        "Write <think> and </think> around it.",
        "a [/THINK]",
        "x </thinking>",
        "End it with </think> always.",
    ],
)
def test_tags_that_are_only_spoken_of_are_text(content):
    assert split(content) is None and without(content) == content


@pytest.mark.parametrize(
    ("prompt", "end"),
    [
        ("<|im_start|>assistant\n<think>\n", "<think>\n"),
        ("[/INST][THINK]", "[THINK]"),
        ("assistant\n<think>\n\n</think>\n\n", ""),
        ("What is <think>?[/INST]", ""),
        ("assistant\n", ""),
    ],
)
def test_a_prompt_may_open_a_thought(prompt, end):
    assert opening(prompt) == end


def test_what_is_said_after_a_thought():
    assert spoken("<think>\n", "hm\n</think>\n\nHi") == "Hi" == spoken("", "<think>hm</think>Hi")
    assert spoken("<think>\n", "hm") is None and spoken("", "<think>hm") is None
    assert (
        spoken("<think>\n", "</think>Hi") == "Hi" and spoken("", "Use </think> here.") == "Use </think> here."
    )


def test_the_opening_tag_of_a_prompt_is_put_back():
    assert with_opening("hm\n</think>\n\nHi") == "<think>\nhm\n</think>\n\nHi"
    assert with_opening("\nhm\n</think>\n\nHi") == "<think>\nhm\n</think>\n\nHi"
    for same in (
        "<think>\nhm\n</think>\n\nHi",
        "<think>\nhm",
        "Hi",
        "",
        "Write </think> there.",
        "[THINK]a[/THINK]b",
    ):
        assert with_opening(same) == same
    user = Message("user", "hm\n</think>\n\nHi")
    talk = Conversation("x", (user, Message("assistant", "Hi")))
    assert with_openings(talk) is talk
    assert with_openings(Conversation("x", (user, Message("assistant", user.content)))).messages[0] == user
