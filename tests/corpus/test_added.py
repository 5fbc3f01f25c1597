"""Added tokens inside a turn, as `<think>` is in many tokenizers, and the space that some tokenizers put after them."""

import numpy as np
import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from fusionchat.align.projection.arrays import EXACT, UNALIGNED
from fusionchat.align.projection.project import find_rows, project, row_kinds
from fusionchat.align.settings import AlignSettings, BytePrefix
from fusionchat.align.vocabulary import build_map
from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.cut import fit
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.corpus.rendered_part import join
from fusionchat.represent.events import common, events_of, message_bytes, text_begins
from fusionchat.tokens.spans import make_table
from tests.align.worlds import capture
from tests.shared import SHARED, needs_shared
from tests.tokens.made import add, byte_level, llama_like, metaspace

TEMPLATE = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
THOUGHTS = (
    "<think>\nHm, two.\n</think>\n\nFour.",
    "<think>Hello</think>Hi there",
    "I say <think> it </think>",
    "<think></think>",
    "你好 <think>世界 x</think>\n\n你好",
)


def thinking(tokenizer, **flags):
    return add(tokenizer, "<think>", "</think>", **flags)


def made():
    return {
        "byte-level": thinking(byte_level()),
        "text tags": byte_level(),
        "sentencepiece": thinking(llama_like()),
        "sentencepiece without prefix": thinking(llama_like(prefix=False)),
        "special": thinking(llama_like(), special=True),
        "swallowing": thinking(llama_like(), lstrip=True, rstrip=True),
    }


def said(content):
    return Conversation("x", (Message("user", "Hello"), Message("assistant", content)))


def covered(one, rendered, content):
    """What each row says of the text: (its bytes there, its token), the end of the turn left out."""
    raw = content.encode()
    begins = text_begins(join([rendered]).supervised)
    return [
        (raw[max(a, 0) : b], one.table.token(t))
        for a, b, t in zip(begins, rendered.end, rendered.input_ids[rendered.rows], strict=True)
        if a < len(raw) or b == len(raw)
    ]


@pytest.mark.parametrize("name", sorted(made()))
@pytest.mark.parametrize("content", THOUGHTS)
def test_a_turn_with_added_tokens_is_tiled(name, content):
    one = Renderer(made()[name], template=TEMPLATE)
    rendered = one.render(said(content))
    assert isinstance(rendered, Rendered), rendered
    rows = covered(one, rendered, content)
    assert b"".join(text for text, _ in rows) == content.encode()
    for text, token in rows:
        assert token in (text, b" " + text, text.strip())  # a dummy space, or spaces that a tag takes in
    assert rendered.end[-1] == len(content.encode()) + 1 and (np.diff(rendered.rows) == 1).all()


def test_the_space_after_an_added_token_by_hand():
    one = Renderer(thinking(llama_like()), template=TEMPLATE)
    rendered = one.render(said("<think>\nHello</think>Hello"))
    rows = covered(one, rendered, "<think>\nHello</think>Hello")
    assert rows[:3] == [(b"<think>", b"<think>"), (b"", b" "), (b"\n", b"\n")]
    at = rows.index((b"</think>", b"</think>"))
    assert b" " + rows[at + 1][0] == rows[at + 1][1]
    assert rendered.begin[1] == len("<think>") - 1 and rendered.end[1] == len("<think>")


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_metaspace(scheme):
    one = Renderer(thinking(metaspace(scheme)), template=TEMPLATE)
    content = "<think>Hello there</think>Hello world"
    rendered = one.render(said(content))
    rows = covered(one, rendered, content)
    assert b"".join(text for text, _ in rows) == content.encode()
    at = rows.index((b"</think>", b"</think>"))
    assert (rows[at + 1][1][:1] == b" ") == (scheme == "always")


def test_a_turn_that_ends_with_an_added_token():
    source = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}\n</s>{% endfor %}"
    one = Renderer(thinking(llama_like()), template=source)
    rendered = one.render(said("Hm</think>"))
    size = len("Hm</think>")
    tokens = [one.table.token(t) for t in rendered.input_ids[rendered.rows]]
    assert tokens[-3:] == [b"</think>", b" ", b"\n"]
    assert list(zip(rendered.begin, rendered.end, strict=True))[-2:] == [(size - 1, size), (size, size + 1)]


def test_a_conversation_is_cut_after_an_added_token():
    renderers = [Renderer(made()[name], template=TEMPLATE) for name in ("byte-level", "sentencepiece")]
    whole = renderers[1].render(said(THOUGHTS[0]))
    fitted = fit(said(THOUGHTS[0]), [(one, int(whole.rows[0]) + 2) for one in renderers])
    assert fitted.conversation.messages[1].content == "<think>"
    for one in renderers:
        assert [row[0] for row in covered(one, one.render(fitted.conversation), "<think>")] == [b"<think>"]


@pytest.mark.parametrize("pivot", sorted(made()))
@pytest.mark.parametrize("source", ["byte-level", "sentencepiece", "text tags"])
def test_every_row_but_a_lone_space_finds_its_context(pivot, source):
    content = THOUGHTS[0]
    one, other = (Renderer(made()[name], template=TEMPLATE) for name in (pivot, source))
    mine, theirs = (join([r.render(said(content))]).supervised for r in (one, other))
    tables = one.table, other.table
    kinds = row_kinds(mine, theirs, find_rows(mine, theirs, *tables, AlignSettings()), *tables)
    lone = mine.end == text_begins(mine)
    if source == "sentencepiece" and pivot != "swallowing":
        assert (kinds != UNALIGNED).all() and (kinds[lone] == EXACT).all()
    else:
        assert ((kinds == UNALIGNED) == lone).all()
    sizes = message_bytes([[5, len(content.encode())]])
    events = [events_of(side, sizes) for side in (mine, theirs)]
    assert [int(e.bytes.sum()) for e in events] == [len(content.encode())] * 2
    assert all(mask.all() for mask in common(events))


def test_projection_after_an_added_token_by_hand():
    """The pivot writes the space, the source does not; and the other way round."""
    words = [b"<think>", b"Hi", b"\n", b" Hi", b" ", b"H", b"i"]
    table, source_table, rng = make_table(words), make_table(words[::-1]), np.random.default_rng(0)
    mapping = build_map(source_table, table, BytePrefix())
    spaced = capture(rng, table, [[([0, 1], [0, 3])]], 7)
    turned = capture(rng, source_table, [[(0, [6, 5])]], 7)
    result = project(spaced.tokens, turned, mapping, (table, source_table), AlignSettings())
    assert result.kind.tolist() == [EXACT, 2]
    said_hi = np.exp(np.float64(turned.label_logprob[1]))
    assert np.exp(result.path_logprob[1]) == pytest.approx(said_hi, abs=1e-3)
    plain = capture(rng, table, [[(0, [0, 1])]], 7)
    back = capture(rng, source_table, [[([0, 1], [6, 3])]], 7)
    result = project(plain.tokens, back, mapping, (table, source_table), AlignSettings(min_mass=0.0))
    spaces = {
        int(t): np.exp(np.float64(p)) for t, p in zip(back.topk.ids[1], back.topk.logprobs[1], strict=True)
    }
    starts = spaces[3] + spaces[2]
    assert result.kind.tolist() == [EXACT, 2]
    assert np.exp(result.path_logprob[1]) == pytest.approx(spaces[3] / starts, abs=2e-3)


REAL = [
    "openchat-3.5",
    "nh2-solar-10.7b",
    "phi-3-mini-instruct",
    "mixtral-8x7b-instruct-v0.1",
    "internlm2-chat-20b",
]


@needs_shared
@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers_with_a_thought(name):
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "tokenizers" / name)
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("<think>", "</think>")])
    one = Renderer(tokenizer, template=TEMPLATE)
    for content in THOUGHTS:
        rendered = one.render(said(content))
        assert isinstance(rendered, Rendered), rendered
        rows = covered(one, rendered, content)
        assert b"".join(text for text, _ in rows) == content.encode()
        assert (b"<think>", b"<think>") in rows
