"""Templates are rendered as transformers renders them, and every form in which a tokenizer keeps them is read."""

import json
from datetime import datetime

import pytest
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from fusionchat.corpus.chat_template import ChatTemplate
from fusionchat.corpus.jinja import RENDERING_DAY, own_template
from fusionchat.corpus.places import Refusal
from fusionchat.corpus.render import Renderer
from fusionchat.errors import ModelError
from tests.corpus.templates import FOUR, LOOP, TEMPLATES, published
from tests.shared import needs_shared
from tests.tokens.made import byte_level

TURNS = LOOP + "<s>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
GIVEN = {
    "separators and sorted keys": "{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}",
    "indent": "{{ {'b': [1, 2], 'a': 'é<>&'} | tojson(indent=2) }}",
    "ascii": "{{ 'é<>&' | tojson(ensure_ascii=true) }}{{ 'é<>&' | tojson }}",
    "positions": "{{ {'b': 1, 'a': 'é'} | tojson(true, 1, (', ', '='), true) }}",
    "break and continue": "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}"
    + "{% if i == 3 %}{% break %}{% endif %}{% endfor %}",
    "generation": "{% generation %}x{% generation %}y{% endgeneration %}{% endgeneration %}",
    "blocks and spaces": "  {% if true %}\n  a\n  {% endif %}\n\n  {# note #}\n b",
    "the day": "{{ strftime_now('%d %b %Y') }}",
    "special tokens": "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token is defined }}",
    "listed special tokens": "{{ additional_special_tokens }}{{ extra_special_tokens }}{{ image_token }}",
    "tools and documents": "{{ tools is none }}{{ documents is none }}{{ tools is defined }}{{ add_generation_prompt }}",
    "namespace and dict": "{% set n = namespace(a=1) %}{% set n.a = 2 %}{{ n.a }}{{ dict(x=1) }}",
    "keys of a message": "{{ messages[0].keys() | list }}{{ messages[0].tool_calls is defined }}",
    "enable_thinking": "{{ enable_thinking is defined }}",
}


@pytest.fixture
def today(monkeypatch):
    """transformers' clock on the day of our renderings."""

    class Day(datetime):
        @classmethod
        def now(cls, tz=None):
            return RENDERING_DAY

    monkeypatch.setattr(chat_template_utils, "datetime", Day)


def theirs(tokenizer, source, messages, generate):
    turns = [{"role": m.role, "content": m.content} for m in messages]
    try:
        return tokenizer.apply_chat_template(
            turns, chat_template=source, tokenize=False, add_generation_prompt=generate
        )
    except Exception as error:
        return type(error)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level()


@pytest.mark.parametrize("name", GIVEN)
def test_what_transformers_gives_to_templates(name, today, tokenizer):
    tokenizer.chat_template = None
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    for generate in (False, True):
        source = GIVEN[name] + TURNS
        ours = ChatTemplate(source, tokenizer.special_tokens_map).write(FOUR.messages, generate=generate)
        assert ours == theirs(tokenizer, source, FOUR.messages, generate), name


@needs_shared
def test_published_templates_render_as_in_transformers(today, tokenizer):
    same = 0
    for name, source in published().items():
        template = ChatTemplate(source, tokenizer.special_tokens_map)
        if template.tools is not None:  # transformers gives such a template tools, or it does not render
            continue
        for messages in (FOUR.messages, FOUR.messages[:1], FOUR.messages[:3]):
            for generate in (False, True):
                ours = template.write(messages, generate=generate)
                expected = theirs(tokenizer, source, messages, generate)
                assert ours == expected or (isinstance(ours, Refusal) and isinstance(expected, type)), name
                same += isinstance(ours, str)
    assert same > 100


def save(folder, chat_template):
    """A tokenizer's folder with a template in some form in its configuration."""
    made = byte_level()
    made.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": chat_template}))
    return folder


def named(**templates):
    return [{"name": name, "template": source} for name, source in templates.items()]


@pytest.mark.parametrize("how", ["string", "list", "file", "files"])
def test_the_default_of_every_form_is_used(how, tmp_path):
    default, other = TEMPLATES["plain"], TEMPLATES["trims"]
    form = {"string": default, "list": named(rag=other, default=default)}.get(how)
    folder = save(tmp_path, form)
    if how in ("file", "files"):
        (folder / "chat_template.jinja").write_text(default)
    if how == "files":
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "rag.jinja").write_text(other)
    loaded = AutoTokenizer.from_pretrained(folder)
    assert own_template(loaded, "m") == default and Renderer(loaded).template.source == default


@pytest.mark.parametrize(
    "form, files",
    [
        (named(rag=TURNS, tool_use=TURNS), {}),
        (None, {"rag": TURNS, "tool_use": TURNS}),
        (named(rag=TURNS, tool_use=""), {}),
    ],
)
def test_names_without_a_default_are_named(form, files, tmp_path):
    folder = save(tmp_path, form)
    for name, source in files.items():
        (folder / "additional_chat_templates").mkdir(exist_ok=True)
        (folder / "additional_chat_templates" / f"{name}.jinja").write_text(source)
    loaded = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(ModelError, match=r"rag, tool_use") as caught:
        Renderer(loaded, name="s")
    assert caught.value.exit_code == 2 and "template: FILE" in str(caught.value)
    assert Renderer(loaded, template=TURNS).template.source == TURNS


@pytest.mark.parametrize("form", [None, "", [], {}])
def test_no_template_says_so(form):
    tokenizer = byte_level()
    tokenizer.chat_template = form
    with pytest.raises(ModelError, match="has no chat template"):
        own_template(tokenizer, "m")


@pytest.mark.parametrize(
    "source",
    [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% include 'other' %}",
        "{{ messages[9].content }}",
        "{{ 1 / 0 }}",
        "{{ range(10 ** 9) | list }}",
        "{{ undefined.thing }}",
        "{{ messages | tojson(indent=messages) }}",
    ],
)
def test_whatever_a_template_raises_is_its_refusal(source):
    assert isinstance(ChatTemplate(source, {}).write(FOUR.messages), Refusal)
