"""Real tokenizers and real dialogues for the alignment benchmark and study (../shared/data, beside the checkout)."""

import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from benchmarks.ngram import capture, train
from fusionchat.corpus.agree import agree_all
from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.topk import Scored

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PLAIN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SMALL, LARGE = "openchat-3.5", "qwen1.5-72b-chat"
TEXTS = {
    "en": "alpaca_eval_answers.jsonl.gz",
    "code": "code_4535.jsonl.gz",
    "zh": "instructions_zh_1000.jsonl.gz",
    "math": "gsm8k_train.jsonl.gz",
    "roleplay": "roleplay_1923.jsonl.gz",
    "instructions": "instructions_1100.jsonl.gz",
    "math test": "gsm8k_test.jsonl.gz",
    "multi-turn": "sharegpt_multi_turn_500.json",
}


def require_data() -> None:
    """End with a clear message where the folder of real inputs is not beside the checkout."""
    if not SHARED.is_dir():
        sys.exit("this benchmark reads real tokenizers and texts from ../shared/data, which is not here")


def renderers(names: Sequence[str] | None = None) -> dict[str, Renderer]:
    """Renderers of the real tokenizers, by name; a plain template where one has none."""
    found = names or sorted(p.name for p in (SHARED / "tokenizers").iterdir())
    made = {}
    for name in found:
        tokenizer = AutoTokenizer.from_pretrained(SHARED / "tokenizers" / name)
        made[name] = Renderer(tokenizer, name=name, template=None if tokenizer.chat_template else PLAIN)
    return made


def conversations(text: str, most: int) -> list[Conversation]:
    """The first conversations of one of `TEXTS`, spread evenly over the file."""
    path = SHARED / "chat" / TEXTS[text]
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
    else:
        records = json.loads(path.read_text(encoding="utf-8"))
    step = max(len(records) // most, 1)
    return [c for c in (to_conversation(r, f"{text}-{i}") for i, r in enumerate(records[::step][:most])) if c]


ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def to_conversation(record: dict, identity: str) -> Conversation | None:
    """A record of either form as a conversation, up to its last assistant turn; None where there is none."""
    turns = record.get("messages") or [
        {"role": t.get("from"), "content": t.get("value")} for t in record.get("conversations", [])
    ]
    messages = [Message(ROLES[t["role"]], t["content"] or "") for t in turns if t["role"] in ROLES]
    while messages and messages[-1].role != "assistant":
        messages.pop()
    return Conversation(identity, tuple(messages)) if messages else None


def held_out(items: Sequence[Conversation]) -> tuple[list[Conversation], list[Conversation]]:
    """Four fifths to train on, one fifth to score."""
    return [c for i, c in enumerate(items) if i % 5], [c for i, c in enumerate(items) if i % 5 == 0]


def render_all(renderer: Renderer, items: Sequence[Conversation]) -> list[Rendered]:
    """Renderings of the conversations, which all must render."""
    out = []
    for item in items:
        rendered = renderer.render(item)
        assert not isinstance(rendered, Reject), rendered
        out.append(rendered)
    return out


def usable(items: Sequence[Conversation], sides: Sequence[Renderer]) -> Iterator[Conversation]:
    """The conversations that every renderer accepts, with the edits of their templates."""
    for item in items:
        agreed = agree_all(item, sides)
        if isinstance(agreed, Reject):
            continue
        if not any(isinstance(s.render(agreed.conversation), Reject) for s in sides):
            yield agreed.conversation


def scored(renderer: Renderer, items: Sequence[Conversation], k: int = 10) -> Scored:
    """Distributions of a 4-gram model for the held-out fifth of some conversations."""
    learn, test = held_out(items)
    model = train(render_all(renderer, learn), renderer.table.size)
    return capture(model, render_all(renderer, test), k)


def whole_turns(tokens: SupervisedTokens) -> np.ndarray:
    """Bytes of every message, where every turn is whole and its end has a row, [C, T]."""
    size = np.zeros((tokens.conversations, int(tokens.turn.max(initial=0)) + 1), np.int32)
    conversation = np.repeat(np.arange(tokens.conversations), np.diff(tokens.offsets))
    np.maximum.at(size, (conversation, tokens.turn), tokens.end - 1)
    return size
