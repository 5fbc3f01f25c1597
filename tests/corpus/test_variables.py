"""Variables of chat templates: which names are free, what a template reads, and defaults in front of a template."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.corpus.chat_template import ChatTemplate
from fusionchat.corpus.conversation import Message
from fusionchat.corpus.jinja import compiled
from fusionchat.corpus.variables import free_names, literal, read_by, refuse_names, unread, with_defaults
from tests.shared import SHARED, needs_shared

THINKS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>"
    "{% if enable_thinking is defined and not enable_thinking %}<no>{% endif %}{% endif %}"
)
USER = (Message("user", "Hi"),)


def test_a_name_is_a_word_that_nothing_else_has():
    refuse_names(["enable_thinking", "date_string", "_x"])
    for name in ("messages", "add_generation_prompt", "tools", "bos_token", "strftime_now", "loop", "range"):
        with pytest.raises(ValueError, match=f"'{name}' cannot be set: the renderer sets it"):
            refuse_names([name])
    for name in ("", "1st", "enable-thinking", "a b", "é"):
        with pytest.raises(ValueError, match="is not a variable's name"):
            refuse_names([name])


def test_a_template_reads_what_it_names():
    assert read_by(THINKS) == {"messages", "add_generation_prompt", "enable_thinking"}
    assert free_names(THINKS) == ["enable_thinking"]
    assert unread(THINKS, {"enable_thinking": False, "enable_thinkin": 1}) == ["enable_thinkin"]
    assert unread("{% macro f() %}{{ x }}{% endmacro %}{{ f() }}", {"x": 1}) == []


def test_a_variable_is_seen_and_special_tokens_go_before_it():
    assert ChatTemplate(THINKS, {}).write(USER, generate=True) == "<user>Hi<assistant>"
    off = ChatTemplate(THINKS, {}, {"enable_thinking": False})
    assert off.write(USER, generate=True) == "<user>Hi<assistant><no>"
    assert off.write(USER) == "<user>Hi"


def test_defaults_are_what_a_caller_does_not_give():
    source = "\n  {{ x }}\n{% if y is defined %}y{% endif %}"
    held = with_defaults(source, {"x": False})
    assert compiled(held).render(x="given", y=1) == compiled(source).render(x="given", y=1)
    assert compiled(held).render() == compiled(source).render(x=False) == "\n  False\n"
    assert with_defaults(source, {}) == source
    macro = "{% macro f() %}{{ x }}{% endmacro %}{{ f() }}"
    assert compiled(with_defaults(macro, {"x": 3})).render() == "3"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé🙂 \n\"'\\%}{#"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\"'\n", max_size=2), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(value=JSON)
def test_a_literal_is_the_value(value):
    shown = "{{ x | tojson }}"
    assert json.loads(compiled(with_defaults(shown, {"x": value})).render()) == value
    assert json.loads(compiled("{% set x = " + literal(value) + " %}" + shown).render()) == value


@needs_shared
def test_qwen3_without_thoughts():
    source = (SHARED / "chat_templates/Qwen-Qwen3-0.6B.jinja").read_text()
    assert "enable_thinking" in free_names(source)
    prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert ChatTemplate(source, {}).write(USER, generate=True) == prompt
    off = {"enable_thinking": False}
    for template in (
        ChatTemplate(source, {}, off),
        ChatTemplate(with_defaults(source, off), {}),
        ChatTemplate(with_defaults(source, {"enable_thinking": True}), {}, off),
    ):
        assert template.write(USER, generate=True) == prompt + "<think>\n\n</think>\n\n"
    messages = (*USER, Message("assistant", "Yes."), *USER, Message("assistant", "No."))
    assert ChatTemplate(with_defaults(source, off), {}).write(messages) == ChatTemplate(source, {}).write(
        messages
    )


@needs_shared
def test_llama_s_date():
    source = (SHARED / "chat_templates/meta-llama-Llama-3.1-8B-Instruct.jinja").read_text()
    text = ChatTemplate(source, {"bos_token": ""}, {"date_string": "1 Apr 2025"}).write(USER)
    assert "Today Date: 1 Apr 2025" in text
