from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.render import Rendered, Renderer, refuse_special
from fusionchat.errors import ModelError
from tests.corpus.templates import FOUR, TEMPLATES, tokenizer_for
from tests.shared import SHARED, needs_shared
from tests.tokens.made import add, byte_level, llama_like, made

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=30)
FAMILIES = {
    "byte-level": lambda: add(byte_level(), "<|end|>", special=True),
    "sentencepiece": llama_like,
    "sentencepiece without prefix": lambda: llama_like(prefix=False),
    "swallowing": lambda: add(llama_like(), "<|a|>", special=True, rstrip=True),
}


def renderer(name="plain", tokenizer=None):
    source = TEMPLATES.get(name, name)
    return Renderer(tokenizer or tokenizer_for(source), template=source, name=name)


def said(*contents, last_complete=True):
    turns = [Message("assistant" if i % 2 else "user", c) for i, c in enumerate(["Hello", *contents])]
    if not last_complete:
        turns[-1] = Message(turns[-1].role, turns[-1].content, complete=False)
    return Conversation("x", tuple(turns))


def check(one, conversation, rendered):
    """Spans tile every assistant turn, and every token spells what it spans."""
    assert isinstance(rendered, Rendered), rendered
    assert rendered.rows[-1] == len(rendered.input_ids) - 1 and rendered.rows[0] > 0
    for i, message in enumerate(conversation.messages):
        mine = rendered.turn == i
        if message.role != "assistant":
            assert not mine.any()
            continue
        raw = message.content.encode()
        begin, end = rendered.begin[mine], rendered.end[mine]
        text = np.maximum(begin, [0, *end[:-1]])
        assert (text[1:] == end[:-1]).all() and (begin[1:] >= text[1:] - 1).all()
        if message.complete and mine.any():
            assert begin[0] <= 0 and end[-1] == len(raw) + 1
        for token, a, t, b in zip(rendered.input_ids[rendered.rows[mine]], begin, text, end, strict=True):
            spelled = one.table.token(token)
            if a == len(raw):
                continue
            inside = raw[t:b]
            assert spelled[t - a :][: len(inside)] == inside


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(contents=st.lists(TEXT, min_size=1, max_size=4))
def test_spans_tile_any_content(family, contents):
    one = cached(family)
    conversation = said(*contents, *([] if len(contents) % 2 else ["end"]))
    rendered = one.render(conversation)
    if isinstance(rendered, Reject):
        assert any(word in rendered.reason for word in ("takes in", "spells out", "changes")), rendered
        return
    check(one, conversation, rendered)


_cache: dict[str, Renderer] = {}


def cached(family):
    template = (
        "{% for m in messages %}<|a|>\n{{ m.content }}<|end|>{% endfor %}"
        if family == "swallowing"
        else "plain"
    )
    if family not in _cache:
        _cache[family] = renderer(template, FAMILIES[family]())
    return _cache[family]


@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - {"nothing at all"}))
def test_every_habit(name):
    one = renderer(name)
    rendered = one.render(FOUR)
    check_turns = FOUR if not name.startswith("nothing") else None
    if check_turns is not None:
        check(one, FOUR, rendered)
    else:
        assert rendered.end[-1] == len(FOUR.messages[3].content) and rendered.turn[-1] == 3
        first = rendered.turn == 1
        assert rendered.end[first][-1] == len("Hi there") + 1


def test_nothing_at_all_has_no_end_of_turn():
    rendered = renderer("nothing at all").render(FOUR)
    assert isinstance(rendered, Rendered)
    assert rendered.end[rendered.turn == 1][-1] <= len("Hi there") + 1
    alone = Conversation("t", (Message("assistant", "only text"),))
    rendered = renderer("nothing at all").render(alone)
    assert rendered.rows[0] == 1 and rendered.end[-1] == len("only text")


def test_a_first_token_may_carry_template_bytes():
    one = renderer("{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}", llama_like())
    rendered = one.render(said("Hello there"))
    assert rendered.begin[0] == -1 and one.table.token(rendered.input_ids[rendered.rows[0]])[:1] == b" "
    check(one, said("Hello there"), rendered)


@pytest.mark.parametrize(("answer", "rows"), [("the", 0), ("Hi", 2), ("the Hi", 3)])
def test_an_answer_of_one_token_with_template_bytes_after_a_thought_is_rejected(answer, rows):
    """Its only token (" the") begins in the template, and no end follows: nothing of it is scored."""
    source = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
    one = Renderer(byte_level(), template=source, thinking="drop")
    rendered = one.render(said(f"<think>\nhm\n</think>\n\n{answer}"))
    assert rendered == Reject("x", "nothing to supervise") if rows == 0 else len(rendered.rows) == rows


def test_a_last_token_may_carry_the_end_of_turn():
    tokenizer = add(byte_level(), ".\n")
    one = renderer("### {{ messages[0].content }}\n{{ messages[1].content }}\n<|end|>", tokenizer)
    rendered = one.render(said("Yes."))
    assert one.table.token(rendered.input_ids[-1]) == b".\n"
    assert (rendered.begin[-1], rendered.end[-1]) == (3, 5)
    cut = one.render(said("Yes.", last_complete=False))
    assert cut.end[-1] == 3


def test_a_cut_turn_has_no_end():
    one = renderer()
    whole, cut = one.render(said("Hello there")), one.render(said("Hello there", last_complete=False))
    assert cut.rows.tolist() == whole.rows[:-1].tolist()
    assert cut.input_ids.tolist() == whole.input_ids[:-1].tolist()


@pytest.mark.parametrize(
    "content", ["", "a", " ", "\n", "\r\n", "\x00", "e\u0301", "👩‍👩‍👧‍👦", "שלום", "x" * 100_000]
)
def test_awkward_turns(content):
    conversation = said(content)
    one = renderer()
    check(one, conversation, one.render(conversation))


def test_rejects_name_the_reason():
    for conversation, word, one in [
        (said("lone \ud800 surrogate"), "Unicode", renderer()),
        (said(" spaced "), "edits", renderer("trims")),
        (Conversation("s", (Message("system", "x"), *FOUR.messages)), "refuses", renderer("refuses system")),
        (said("a ▁ b"), "changes", renderer("plain", llama_like())),
        (said("snow ☃"), "does not know", renderer("plain", made()["sentencepiece without fallback"])),
        (Conversation("n", (Message("user", "x"),)), "nothing", renderer()),
        (said("  blanks"), "takes in", cached("swallowing")),
    ]:
        reject = one.render(conversation)
        assert isinstance(reject, Reject) and word in reject.reason, (word, reject)
        assert reject.id == conversation.id


def test_prompts_and_stops():
    one = renderer()
    prompt = one.tokenizer.decode(one.prompt_ids(FOUR.messages[:3]))
    assert prompt.endswith("<s>user\nWho are you<|end|>\n<s>assistant\n")
    assert [one.tokenizer.decode([i]) for i in one.stop_ids] == ["<|end|>", "</s>"]
    without = renderer("merges system")
    assert without.tokenizer.decode(without.prompt_ids(FOUR.messages[:1])).endswith("Hello [/INST]")
    both = renderer("other end at the end")
    assert [both.tokenizer.decode([i]) for i in both.stop_ids] == ["</s>", "<|end|>"]
    with pytest.raises(ModelError, match="refuses"):
        renderer("wants alternation").prompt_ids([Message("system", "x"), Message("user", "y")])


def test_a_tokenizer_without_a_template_is_an_error():
    with pytest.raises(ModelError, match="no chat template") as caught:
        Renderer(byte_level(), name="base")
    assert "template:" in str(caught.value)
    tokenizer = byte_level()
    tokenizer.chat_template = TEMPLATES["plain"]
    assert Renderer(tokenizer).digest == Renderer(tokenizer, template=TEMPLATES["plain"]).digest
    assert Renderer(tokenizer).digest != Renderer(tokenizer, template=TEMPLATES["trims"]).digest


@needs_shared
@pytest.mark.parametrize("name", ["openchat-3.5", "phi-3-mini-instruct", "mixtral-8x7b-instruct-v0.1"])
def test_real_tokenizers(name):
    one = Renderer(AutoTokenizer.from_pretrained(SHARED / "tokenizers" / name))
    for conversation in (FOUR, said("你好 😀\n\nx"), said("")):
        rendered = one.render(conversation)
        check(one, conversation, rendered)
        ends = rendered.begin == [len(conversation.messages[t].content.encode()) for t in rendered.turn]
        assert np.isin(rendered.input_ids[rendered.rows[ends]], one.stop_ids).all()


def test_turns_that_bear_no_loss_are_context_only():
    r = renderer()
    whole = r.render(FOUR)
    off = replace(
        FOUR, messages=(FOUR.messages[0], replace(FOUR.messages[1], train=False), *FOUR.messages[2:])
    )
    seen = r.render(off)
    np.testing.assert_array_equal(seen.input_ids, whole.input_ids)
    np.testing.assert_array_equal(seen.rows, whole.rows[whole.turn == 3])
    assert set(seen.turn) == {3} and off.supervised_bytes == len(FOUR.messages[3].content.encode())
    last = replace(FOUR, messages=(*FOUR.messages[:3], replace(FOUR.messages[3], train=False)))
    assert set(r.render(last).turn) == {1} and r.render(last).input_ids.size < whole.input_ids.size


def test_the_text_of_a_reply_has_the_tags_of_thoughts_and_no_control_tokens():
    one = renderer("plain", add(byte_level(), "<think>", "</think>", special=True))
    ids = one.encoder.ids("<think>\nhm</think>\n\nHi<|end|>")
    assert one.text(ids.tolist()) == "<think>\nhm</think>\n\nHi" and one.text([one.table.size + 5]) == ""


def test_variables_reach_prompts_and_the_digest():
    source = TEMPLATES["plain"] + "{% if add_generation_prompt and no_thoughts %}<no>{% endif %}"
    tokenizer = renderer().tokenizer
    plain, off = (
        Renderer(tokenizer, template=source, variables=given) for given in ({}, {"no_thoughts": True})
    )
    user = (Message("user", "Hi"),)
    assert (
        off.tokenizer.decode(off.prompt_ids(user)) == plain.tokenizer.decode(plain.prompt_ids(user)) + "<no>"
    )
    assert plain.digest != off.digest
    assert off.digest == Renderer(tokenizer, template=source, variables={"no_thoughts": True}).digest
    refuse_special({"day": 1}, {"image_token": "<i>"}, "qwen")
    with pytest.raises(ModelError, match="'image_token' cannot be set") as error:
        refuse_special({"image_token": 1}, {"image_token": "<i>"}, "qwen")
    assert error.value.where == "template_variables of qwen"
