import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.cut import cut, fit
from fusionchat.corpus.render import Renderer
from tests.corpus.templates import FOUR, TEMPLATES, tokenizer_for
from tests.tokens.made import llama_like

MULTI = "Aé你😀 " * 6


@pytest.fixture(scope="module")
def pair():
    plain = Renderer(tokenizer_for(TEMPLATES["plain"]), template=TEMPLATES["plain"], name="one")
    return plain, Renderer(llama_like(), template=TEMPLATES["refuses system"], name="two")


def test_what_fits_is_untouched(pair):
    fitted = fit(FOUR, [(r, 1000) for r in pair])
    assert fitted.conversation is FOUR and fitted.notes == ()


@settings(max_examples=60, deadline=None)
@given(most=st.tuples(st.integers(1, 120), st.integers(1, 120)), content=st.text("Aé你😀 .\n", max_size=40))
def test_a_cut_is_shared_and_within_every_length(pair, most, content):
    conversation = Conversation(
        "c",
        (
            Message("user", "Hi"),
            Message("assistant", MULTI),
            Message("user", "More"),
            Message("assistant", content),
        ),
        answer="4",
    )
    limits = list(zip(pair, most, strict=True))
    fitted = fit(conversation, limits)
    if isinstance(fitted, Reject):
        shortest = cut(conversation, 1, 1)
        assert any(len(r.render(shortest).input_ids) > m for r, m in limits)
        return
    fitted = fitted.conversation
    ends = set()
    for one, limit in limits:
        rendered = one.render(fitted)
        assert len(rendered.input_ids) <= limit
        ends.add((int(rendered.turn[-1]), int(rendered.end[-1])))
    assert len(ends) == 1
    for before, after in zip(conversation.messages, fitted.messages, strict=False):
        assert before.role == after.role and before.content.startswith(after.content)
        assert after.complete or after is fitted.messages[-1]
    assert fitted.answer == ("4" if fitted == conversation else None)


def test_every_byte_of_a_multi_byte_text(pair):
    """With every maximum length, the cut is at a character, and one more token never gives a shorter text."""
    conversation = Conversation("c", (Message("user", "Hi"), Message("assistant", MULTI)))
    sizes = []
    for most in range(1, 90):
        fitted = fit(conversation, [(r, most) for r in pair])
        sizes.append(
            -1 if isinstance(fitted, Reject) else len(fitted.conversation.messages[1].content.encode())
        )
    assert sizes == sorted(sizes) and sizes[0] == -1 and sizes[-1] == len(MULTI.encode())
    assert len(set(sizes)) > 15


def test_rejects_say_who_and_why(pair):
    system = Conversation("s", (Message("system", "x"), *FOUR.messages))
    reject = fit(system, [(r, 1000) for r in pair])
    assert isinstance(reject, Reject) and "refuses" in reject.reason and reject.model == "two"
    assert reject.cause.startswith("two: ")
    short = fit(FOUR, [(r, 3) for r in pair])
    assert isinstance(short, Reject) and "maximum length" in short.reason


def test_cutting_by_hand():
    whole = cut(FOUR, 1, len("Hi there") + 1)
    assert [m.content for m in whole.messages] == ["Hello", "Hi there"] and whole.messages[-1].complete
    part = cut(FOUR, 3, 4)
    assert part.messages[3].content == "I am" and not part.messages[3].complete
