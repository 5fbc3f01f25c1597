"""Chat templates with every habit that published ones have, in a few characters each; and the published ones, where they are."""

import json
import re

from fusionchat.corpus.conversation import Conversation, Message
from tests.shared import SHARED
from tests.tokens.made import add, byte_level

LOOP = "{% for m in messages %}"
TEMPLATES = {
    "plain": LOOP
    + "<s>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}",
    "trims": LOOP + "<s>{{ m.role }}\n{{ m.content | trim }}<|end|>\n{% endfor %}",
    "refuses system": "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    + LOOP
    + "[{{ m.role }}] {{ m.content }}</s>{% endfor %}",
    "wants alternation": LOOP
    + "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}"
    + "[{{ m.role }}] {{ m.content }}</s>{% endfor %}",
    "merges system": "{% set ns = namespace(s='') %}"
    + LOOP
    + "{% if m.role == 'system' %}{% set ns.s = m.content + '\n' %}{% elif m.role == 'user' %}"
    + "[INST] {{ ns.s }}{{ m.content }} [/INST]{% set ns.s = '' %}{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
    "default system and date": "<s>system\nToday: {{ strftime_now('%Y-%m-%d') }}<|end|>\n"
    + LOOP
    + "<s>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}",
    "thinks": LOOP
    + "{% if m.role == 'assistant' %}{% set c = m.content.split('</think>')[-1].lstrip('\n') %}"
    + "<s>assistant\n<think>\n\n</think>\n\n{{ c }}<|end|>\n"
    + "{% else %}<s>{{ m.role }}\n{{ m.content }}<|end|>\n{% endif %}{% endfor %}",
    "closes with text": LOOP + "### {{ m.role }}:\n{{ m.content }}\n<|end|>\n{% endfor %}",
    "nothing after the last": LOOP + "<|end|>{{ m.role }}\n{{ m.content }}{% endfor %}",
    "nothing at all": LOOP + "{{ m.content }}{% endfor %}",
    "training block": LOOP
    + "<s>{{ m.role }}\n{% if m.role == 'assistant' %}"
    + "{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
    + "{% else %}{{ m.content }}<|end|>{% endif %}\n{% endfor %}",
    "other end at the end": LOOP
    + "<s>{{ m.role }}\n{{ m.content }}{% if loop.last %}</s>{% else %}<|end|>{% endif %}{% endfor %}",
}
CONTROL = re.compile(r"<\|[^<>| ]+\|>|<[a-z]+_of_[a-z]+>|<｜[^<>]+?｜>")

FOUR = Conversation(
    "four",
    (
        Message("user", "Hello"),
        Message("assistant", "Hi there"),
        Message("user", "Who are you"),
        Message("assistant", "I am\n\nan assistant."),
    ),
)


def published():
    """Published templates by name, where ../shared/data is."""
    folder = SHARED / "chat_templates"
    cases = json.loads((folder / "golden_templates.json").read_text(encoding="utf-8"))["cases"]
    return {f.name: f.read_text(encoding="utf-8") for f in sorted(folder.glob("*.jinja"))} | {
        case["name"]: case["template"] for case in cases
    }


def tokenizer_for(template):
    """A byte-level tokenizer that has the template's control tokens."""
    return add(byte_level(), *sorted(set(CONTROL.findall(template))), special=True)
