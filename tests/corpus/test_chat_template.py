import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.corpus.chat_template import ChatTemplate
from fusionchat.corpus.conversation import Message, Reject
from fusionchat.corpus.places import Refusal, edits
from fusionchat.corpus.render import Renderer
from fusionchat.errors import ModelError
from tests.corpus.templates import FOUR, TEMPLATES, published, tokenizer_for
from tests.shared import SHARED, needs_shared

GOLDEN = Path(__file__).with_name("published_templates.json")
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def read(template, messages):
    shown = template.show(messages)
    assert not isinstance(shown, Refusal), shown
    return shown.text, shown.places


@pytest.mark.parametrize("name", TEMPLATES)
def test_contents_are_found(name):
    template = ChatTemplate(TEMPLATES[name], TOKENS)
    text, places = read(template, FOUR.messages)
    assert [text[p.begin : p.end] for p in places] == ["Hi there", "I am\n\nan assistant."]
    assert [p.message for p in places] == [1, 3]


@pytest.mark.parametrize("name", ["plain", "nothing after the last", "merges system"])
@settings(max_examples=60, deadline=None)
@given(contents=st.lists(st.text("a \n<>|[]é你", max_size=6), min_size=1, max_size=4))
def test_contents_are_found_whatever_they_are(name, contents):
    messages = [Message("assistant" if i % 2 else "user", c) for i, c in enumerate(["q", *contents])]
    template = ChatTemplate(TEMPLATES[name], TOKENS)
    text, places = read(template, messages)
    assert not isinstance(places, Refusal), places
    for place in places:
        a, b = place.kept
        assert text[place.begin : place.end] == messages[place.message].content[a:b]


def test_edits_are_told():
    spaced = [Message("user", "Hello"), Message("assistant", "  Hi \n")]
    _, places = read(ChatTemplate(TEMPLATES["trims"], TOKENS), spaced)
    assert places[0].kept == (2, 4)
    assert edits("x") == [(0, 1)] and edits(" ") == [(0, 1), (0, 0)]


def test_closing_text_is_told_from_the_next_turn():
    closed = {}
    for name in TEMPLATES:
        closed[name] = [p.closed for p in read(ChatTemplate(TEMPLATES[name], TOKENS), FOUR.messages)[1]]
    assert closed.pop("nothing at all") == [False, False]
    assert closed.pop("nothing after the last") == [True, False]
    assert set(map(tuple, closed.values())) == {(True, True)}


def test_what_a_template_refuses_or_loses_is_said():
    system = [Message("system", "Be brief"), Message("user", "Hello"), Message("assistant", "Hi")]
    for name in ("refuses system", "wants alternation"):
        refused = ChatTemplate(TEMPLATES[name], TOKENS).write(system)
        assert isinstance(refused, Refusal) and "refuses" in refused.reason
    for source, word in [
        ("{% for m in messages[:-1] %}{{ m.content }}{% endfor %}", "leaves out"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "repeats"),
        ("{% for m in messages | reverse %}<{{ m.content }}>{% endfor %}", "reorders"),
        ("{% for m in messages %}<{{ m.content | replace('H', 'J') }}>{% endfor %}", "rewrites"),
    ]:
        template = ChatTemplate(source, TOKENS)
        refused = template.show(FOUR.messages)
        assert isinstance(refused, Refusal) and word in refused.reason, source


def test_broken_and_unsafe_templates():
    with pytest.raises(ModelError, match="not valid Jinja"):
        ChatTemplate("{% for %}", TOKENS)
    for unsafe in (
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
    ):
        assert ChatTemplate(unsafe, TOKENS).write(FOUR.messages) != "1"
        written = ChatTemplate(unsafe, TOKENS).write(FOUR.messages)
        assert isinstance(written, Refusal) or written == "", written


def test_the_day_does_not_change():
    text = ChatTemplate(TEMPLATES["default system and date"], TOKENS).write(FOUR.messages)
    assert "Today: 2024-07-26" in text


def facts(name, source):
    """What our renderer makes of a template, in few words; the templates themselves are not copied."""
    renderer = Renderer(tokenizer_for(source), template=source, name=name)
    text = renderer.template.write(FOUR.messages)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16] if isinstance(text, str) else text.reason
    rendered = renderer.render(FOUR)
    if isinstance(rendered, Reject):
        return {"text": digest, "reject": rendered.reason}
    decode = renderer.tokenizer.decode
    turns = {
        str(turn): [
            [decode([int(i)]), int(a), int(b)]
            for i, t, a, b in zip(
                rendered.input_ids[rendered.rows], rendered.turn, rendered.begin, rendered.end, strict=True
            )
            if t == turn
        ][-2:]
        for turn in sorted(set(rendered.turn.tolist()))
    }
    return {"text": digest, "last tokens": turns, "stops": [decode([i]) for i in renderer.stop_ids]}


@needs_shared
def test_published_templates_are_as_they_were():
    got = {name: facts(name, source) for name, source in published().items()}
    assert got == json.loads(GOLDEN.read_text(encoding="utf-8"))


@needs_shared
def test_published_templates_render_as_their_authors_expect():
    golden = json.loads((SHARED / "chat_templates" / "golden_templates.json").read_text(encoding="utf-8"))
    messages = [Message(m["role"], m["content"]) for m in golden["conversation"]]
    checked = 0
    for case in golden["cases"]:
        if not case["renders_as_expected"]:
            continue
        tokens = {"bos_token": case.get("bos", ""), "eos_token": case.get("eos", "")}
        text = ChatTemplate(case["template"], tokens).write(
            messages, generate=golden["add_generation_prompt"]
        )
        expected = case["expected_jinja"] or case["expected"]
        assert text == expected or text.strip() == expected.strip(), case["name"]
        checked += 1
    assert checked >= 14
