import numpy as np
import pytest
from hypothesis import given, settings
from transformers import AutoTokenizer

from fusionchat.align.positions import NOWHERE, attach
from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.corpus.rendered_part import join
from tests.align.worlds import worlds
from tests.reference import align as slow
from tests.shared import SHARED, needs_shared


def contexts(tokens, table):
    """Text bytes of the turn before every row, put together from the tokens before it (bytes not of the text left out)."""
    out = []
    for i in range(tokens.rows):
        before, j = b"", i
        while slow.text_begin(tokens, j) > 0:
            assert tokens.end[j - 1] == slow.text_begin(tokens, j) and tokens.turn[j - 1] == tokens.turn[j]
            j -= 1
            before = table.token(tokens.labels[j])[slow.text_begin(tokens, j) - tokens.begin[j] :] + before
        out.append(before)
    return out


def check_contexts(pivot, source, pivot_table, source_table):
    """The pivot's context is the source's context and the residual, byte for byte."""
    attached = attach(pivot, source)
    mine, theirs = contexts(pivot, pivot_table), contexts(source, source_table)
    for i, (j, residual) in enumerate(zip(attached.row, attached.residual, strict=True)):
        if j == NOWHERE:
            continue
        seen = source_table.token(source.labels[j])[:residual][slow.text_begin(source, j) - source.begin[j] :]
        assert theirs[j] + seen == mine[i]
    return attached


@settings(max_examples=150, deadline=None)
@given(worlds(k=1))
def test_equals_the_slow_reference(world):
    attached = check_contexts(world.pivot.tokens, world.source.tokens, world.pivot_table, world.source_table)
    expected = slow.attach(world.pivot.tokens, world.source.tokens)
    assert attached.row.tolist() == [NOWHERE if j is None else j for j, _ in expected]
    assert attached.residual.tolist() == [r for _, r in expected]
    assert (attached.row != NOWHERE).all()


@settings(max_examples=50, deadline=None)
@given(worlds(k=1, led=False))
def test_attaching_to_itself_is_the_identity(world):
    attached = attach(world.pivot.tokens, world.pivot.tokens)
    assert attached.row.tolist() == list(range(world.pivot.tokens.rows)) and not attached.residual.any()


def test_what_the_source_lacks_is_nowhere():
    spans = [(0, 2), (2, 3), (3, 4)]

    def rendered(kept, turn=1):
        begin, end = zip(*(spans[i] for i in kept), strict=True)
        n = len(kept)
        return Rendered(*(np.array(x, np.int32) for x in ([1] * n, range(n), [turn] * n, begin, end)))

    pivot = join([rendered([0, 1, 2])]).supervised
    assert attach(pivot, join([rendered([1])]).supervised).row.tolist() == [-1, 0, -1]
    assert attach(pivot, join([rendered([0, 1], turn=3)]).supervised).row.tolist() == [-1, -1, -1]
    assert attach(pivot, join([rendered([2])]).supervised).row.tolist() == [-1, -1, 0]


REAL = ["openchat-3.5", "phi-3-mini-instruct", "gpt2"]
TEXTS = ["Hello, world!\n\n  x = 1\n", "你好，世界 👩‍👩‍👧 e\u0301", "שלום\r\n\x00end ", "", "a"]


@needs_shared
@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers(name):
    template = "{% for m in messages %}<{{ m.role }}> {{ m.content }}{{ eos_token }}{% endfor %}"
    one, other = (
        Renderer(AutoTokenizer.from_pretrained(SHARED / "tokenizers" / n), template=template)
        for n in (name, REAL[REAL.index(name) - 1])
    )
    turns = [
        Message("assistant" if i % 2 else "user", t) for i, t in enumerate(t for t in TEXTS for _ in "qa")
    ]
    conversation = Conversation("x", tuple(turns))
    pivot, source = (join([r.render(conversation)]).supervised for r in (one, other))
    attached = check_contexts(pivot, source, one.table, other.table)
    assert (attached.row != NOWHERE).all()
    assert (pivot.end[pivot.begin >= 0] > pivot.begin[pivot.begin >= 0]).all()
