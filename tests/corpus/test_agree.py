"""Every model sees the same bytes; thoughts are kept, whatever its template does with them; all of it is said."""

import pytest

from fusionchat.corpus.agree import (
    DROPS,
    HIDES,
    LEAVES_OUT,
    PROMPTED,
    RESPACES,
    SWALLOWS,
    TRIMS,
    Fitted,
    agree,
    agree_all,
)
from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.cut import fit
from fusionchat.corpus.places import Refusal
from fusionchat.corpus.render import Renderer
from fusionchat.corpus.thoughts import without_thoughts
from tests.corpus.templates import FOUR, LOOP, TEMPLATES, published, tokenizer_for
from tests.corpus.test_render import cached, check, renderer, said
from tests.corpus.thinking import HABITS
from tests.shared import needs_shared
from tests.tokens.made import byte_level

THOUGHT = "<think>\nOne and one.\n</think>\n\nTwo."
_made: dict[tuple[str, str], Renderer] = {}


def habit(name, thinking="keep"):
    key = (name, thinking)
    if key not in _made:
        _made[key] = Renderer(
            tokenizer_for(HABITS[name]), template=HABITS[name], thinking=thinking, name=name
        )
    return _made[key]


def contents(fitted):
    assert isinstance(fitted, Fitted), fitted
    return [m.content for m in fitted.conversation.messages if m.role == "assistant"]


def whats(fitted):
    return {str(note) for note in fitted.notes}


def test_trimmed_spaces_are_trimmed_for_all_and_said():
    fitted = agree_all(said(" spaced \n"), [renderer("plain"), renderer("trims")])
    assert contents(fitted) == ["spaced"] and whats(fitted) == {f"trims: {TRIMS}"}
    fitted = agree_all(said("  blanks"), [cached("swallowing")])
    assert contents(fitted) == ["blanks"] and {note.what for note in fitted.notes} == {SWALLOWS}
    untouched = agree_all(said(" spaced \n"), [renderer("plain")])
    assert contents(untouched) == [" spaced \n"] and untouched.notes == ()


@pytest.mark.parametrize("name", HABITS)
@pytest.mark.parametrize(
    "turns",
    [
        [THOUGHT],
        [THOUGHT, "And?", "<think>\nMore.\n\nAgain.\n</think>\n\nThree.\n\nDone."],
        ["No thought.", "Sure?", THOUGHT],
        [THOUGHT, "Sure?", "No thought."],
        ["<think>\n\n</think>\n\nAn empty one."],
        ["Look. <think>x</think> A thought inside.", "q", "Use </think> twice </think> here."],
        ["[THINK]of it[/THINK]Yes."],
        ["<think>\nWithout an answer.\n</think>\n\n"],
    ],
)
def test_a_thought_is_kept_whatever_a_template_does_with_it(name, turns):
    conversation = said(*turns)
    fitted = fit(conversation, [(habit("plain"), 1000), (habit(name), 1000)])
    if name == "trims" or "one line" in name:  # edits made for all
        assert "".join("".join(contents(fitted)).split()) == "".join("".join(turns[::2]).split())
    else:
        assert contents(fitted) == turns[::2]
    for one in (habit("plain"), habit(name)):
        check(one, fitted.conversation, one.render(fitted.conversation))


def test_what_each_model_reads():
    """By hand: the thought where the template shows it, or where the answer would be, and never an empty one beside it."""
    for name in set(HABITS) - {"shows on one line"}:
        text = habit(name).show(said(THOUGHT).messages).text
        assert text.rstrip() == f"<s>user\nHello<|end|>\n<s>assistant\n{THOUGHT}<|end|>", name
    text = habit("shows the last").show(said(THOUGHT, "q", "<think>\n\n</think>\n\nHi").messages).text
    assert text.count("<think>") == 2 and "One and one." in text


def test_hidden_thoughts_are_said_and_shown_ones_are_not():
    for name, expected in {
        "plain": set(),
        "drops": {f"drops: {HIDES}"},
        "shows": set(),
        "shows the last": set(),
        "drops and writes an empty one": {f"drops and writes an empty one: {HIDES}"},
    }.items():
        assert whats(agree_all(said(THOUGHT), [habit("plain"), habit(name)])) == expected, name
    fitted = agree_all(said(THOUGHT, "q", THOUGHT), [habit("shows the last")])
    assert whats(fitted) == {f"shows the last: {HIDES}"}


def test_other_spaces_around_a_thought_are_those_of_the_first_template_that_writes_them():
    tight = "<think>One.</think>Two."
    fitted = agree_all(said(tight), [habit("plain"), habit("shows")])
    assert contents(fitted) == ["<think>\nOne.\n</think>\n\nTwo."] and whats(fitted) == {f"shows: {RESPACES}"}
    fitted = agree_all(said(THOUGHT), [habit("shows on one line"), habit("shows")])
    assert contents(fitted) == ["<think>One and one.</think>Two."]
    assert whats(fitted) == {f"shows on one line: {RESPACES}", f"shows: {HIDES}"}
    begun = agree_all(said("One.\n</think>\n\nTwo."), [habit("shows")])
    assert (
        contents(begun) == ["One.\n</think>\n\nTwo."] and begun.notes == ()
    )  # the tag is the template's own


def test_a_thought_that_is_cut_stays_a_thought():
    conversation = said("<think>\n" + "word " * 40 + "\n</think>\n\nTwo.")
    fitted = fit(conversation, [(habit("plain"), 90), (habit("shows"), 90)])
    assert contents(fitted)[0].startswith("<think>\nword") and "</think>" not in contents(fitted)[0]
    text = habit("shows").show(fitted.conversation.messages).text
    assert text.count("<think>") == 1 and text.startswith(
        "<s>user\nHello<|end|>\n<s>assistant\n<think>\nword"
    )


def test_a_model_that_sees_no_thoughts_has_the_same_bytes():
    conversation = said(THOUGHT, "And?", "Three.")
    keeps, drops = habit("plain"), habit("plain", "drop")
    fitted = fit(conversation, [(keeps, 1000), (drops, 1000)])
    assert fitted.conversation is conversation and whats(fitted) == {f"plain: {DROPS}"}
    rendered, whole = drops.render(conversation), keeps.render(conversation)
    text = drops.tokenizer.decode(rendered.input_ids)
    assert "One and one" not in text and "Two." in text
    size = len(THOUGHT) - len("Two.")
    first = rendered.turn == 1
    assert rendered.begin[first][0] == size and rendered.end[first][-1] == len(THOUGHT) + 1
    theirs = whole.turn == 1
    shared = set(zip(whole.begin[theirs], whole.end[theirs], strict=True))
    assert set(zip(rendered.begin[first], rendered.end[first], strict=True)) <= shared
    for token, a, b in zip(
        rendered.input_ids[rendered.rows[first]], rendered.begin[first], rendered.end[first], strict=True
    ):
        if b <= len(THOUGHT):
            assert drops.table.token(token) == THOUGHT[a:b].encode()
    assert rendered.end[rendered.turn == 3].tolist() == whole.end[whole.turn == 3].tolist()


def test_thoughts_dropped_for_all():
    assert without_thoughts(said(THOUGHT, "q", "Hi")).messages[1].content == "Two."
    assert without_thoughts(FOUR) is FOUR


@pytest.mark.parametrize("role", ["system", "user"])
def test_turns_that_are_left_out_are_said(role):
    source = (
        LOOP + "{% if m.role != 'ROLE' %}<s>{{ m.role }}\n{{ m.content }}<|end|>\n{% endif %}{% endfor %}"
    )
    source = source.replace("ROLE", role)
    one = Renderer(tokenizer_for(source), template=source, name="one")
    conversation = Conversation("s", (Message("system", "Be brief"), *FOUR.messages))
    assert whats(agree_all(conversation, [one])) == {"one: " + LEAVES_OUT.format(role=role)}
    answer = Conversation("a", (Message("assistant", "Hi"),))
    assert agree_all(answer, [one]).notes == () == agree_all(conversation, [renderer("plain")]).notes


@pytest.mark.parametrize(
    "source",
    [
        LOOP
        + "<s>{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}</s>{% endfor %}",
        LOOP
        + "{% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] }}{% else %}[x]{% endif %}{% endfor %}"
        + "{% endfor %}",
        "{% for m in messages %}{{ m.content[0]['text'] }}</s>{% endfor %}",
        LOOP
        + "{% for p in m.content | selectattr('type', 'equalto', 'text') %}{{ p['text'] }}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_takes_parts_is_named_with_the_reason(source):
    one = Renderer(tokenizer_for(source), template=source, name="s")
    reject = agree_all(FOUR, [renderer("plain"), one])
    assert isinstance(reject, Reject) and reject.cause.startswith("s: ") and "list of parts" in reject.cause


def test_a_template_that_takes_text_or_parts_is_given_text():
    source = (
        "{% for m in messages %}<s>{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}<|end|>{% endfor %}"
    )
    one = Renderer(tokenizer_for(source), template=source, name="s")
    check(one, FOUR, agree_all(FOUR, [one]) and one.render(FOUR))


@needs_shared
def test_published_templates_keep_thoughts():
    """Every published template that shows a conversation of two thoughts keeps them, in every turn, and no empty one."""
    conversation, shown = said(THOUGHT, "And?", THOUGHT), 0
    for name, source in published().items():
        one = Renderer(tokenizer_for(source), template=source, name=name)
        found = one.show(conversation.messages)
        if isinstance(found, Refusal):
            assert isinstance(one.show(FOUR.messages), Refusal), name
            continue
        assert found.text.count(THOUGHT) == 2 or "SmolLM3" in name, name
        assert found.text.count("One and one.") == 2 and "<think>\n\n</think>" not in found.text, name
        shown += 1
    assert shown >= 20


def test_agreement_is_proven_by_rendering():
    assert isinstance(agree(renderer(), said("a ▁ b")), Fitted)
    assert isinstance(
        agree_all(FOUR, [Renderer(tokenizer_for(TEMPLATES["trims"]), template="{{ 1 }}")]), Reject
    )


def test_a_prompt_that_opens_a_thought_is_noted_where_answers_have_none():
    source = HABITS["plain"] + "{% if add_generation_prompt %}<s>assistant\n<think>\n{% endif %}"
    one = Renderer(byte_level(), template=source, name="r1")
    assert one.opening == "<think>\n" and Renderer(byte_level(), template=HABITS["plain"]).opening == ""
    for content, noted in (("Hi", True), ("<think>\nhm\n</think>\n\nHi", False)):
        talk = Conversation("x", (Message("user", "Hello"), Message("assistant", content)))
        assert (f"r1: {PROMPTED}" in map(str, agree_all(talk, [one]).notes)) == noted
