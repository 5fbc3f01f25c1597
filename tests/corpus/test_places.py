"""Contents in a rendering: found by marks, each edit and each refusal, in characters and in bytes."""

import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.places import (
    LOST,
    REWRITES,
    Place,
    Refusal,
    between_marks,
    byte_places,
    edits,
    follows_bare,
    make_marks,
    read_between,
)

TWO = (Message("user", "Hi"), Message("assistant", " Yes.\n"))


def test_the_template_s_text_between_marks():
    assert between_marks("<u>M0</u><a>M1", ["M0", "M1"]) == ["<u>", "</u><a>", ""]
    assert between_marks("<s>", []) == ["<s>"]


@pytest.mark.parametrize("skeleton", ["M0", "M0 M1 M1", "M1 M0"])  # left out, repeated, reordered
def test_a_mark_is_there_once_and_in_order(skeleton):
    assert between_marks(skeleton, ["M0", "M1"]) == Refusal(LOST)


@pytest.mark.parametrize(
    ("shown", "kept"), [(" Yes.\n", (0, 6)), ("Yes.", (1, 5)), ("Yes.\n", (1, 6)), (" Yes.", (0, 5))]
)
def test_places_are_where_the_template_put_the_contents_as_it_edits_them(shown, kept):
    places = read_between(TWO, [0, 1], ["[", "][", "]"], f"[Hi][{shown}]")
    assert places == [Place(0, 1, 3, (0, 2), True), Place(1, 5, 5 + len(shown), kept, True)]


@pytest.mark.parametrize("text", ["(Hi][Yes.]", "[Ho][Yes.]", "[Hi][Yes.]]", "[Hi][yes.]"])
def test_a_rewritten_turn_is_refused(text):
    assert read_between(TWO, [0, 1], ["[", "][", "]"], text) == Refusal(REWRITES)


def test_a_turn_is_closed_by_text_of_the_template_and_not_by_the_next_turn():
    messages = (Message("assistant", "A"), Message("user", "B"))
    assert (
        follows_bare(messages, 0, "")
        and follows_bare(messages, 0, "B ...")
        and not follows_bare(messages, 0, "</s>")
    )
    assert not follows_bare((Message("user", "A"), Message("assistant", "B")), 0, "B")
    assert not follows_bare(messages[:1], 0, "B")
    assert [p.closed for p in read_between(messages[:1], [0], ["", ""], "A")] == [False]


def test_edits_are_tried_from_none_to_trimmed_on_both_sides():
    assert edits("\n x \n") == [(0, 5), (2, 3), (2, 5), (0, 3), (1, 5), (1, 3)]
    assert edits("x") == [(0, 1)] and edits("") == [(0, 0)] and edits(" ") == [(0, 1), (0, 0)]


def test_marks_are_in_no_message():
    assert make_marks(2, TWO) == ["Qx0Mark0xQ", "Qx0Mark1xQ"]
    assert make_marks(1, (Message("user", "Qx0Mark and Qx1Mark9"),)) == ["Qx2Mark0xQ"]


def test_places_in_bytes():
    places = [Place(0, 1, 3, (0, 2), True), Place(1, 4, 5, (0, 1), False)]
    assert byte_places("é你xé😀", places) == [Place(0, 2, 6, (0, 2), True), Place(1, 8, 12, (0, 1), False)]
    assert byte_places("abcdef", places) == places
