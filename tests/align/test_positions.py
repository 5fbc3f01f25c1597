import numpy as np
import pytest
from hypothesis import given, settings
from transformers import AutoTokenizer

from fusionchat.align.positions import NOWHERE, attach
from fusionchat.align.preview import spans_only
from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.render import Rendered, Renderer
from tests.align.worlds import worlds
from tests.reference import align as slow
from tests.shared import SHARED, needs_shared


def contexts(topk, table):
    """Text bytes of the turn before every row, put together from the tokens before it (bytes not of the text left out)."""
    out = []
    for i in range(topk.rows):
        before, j = b"", i
        while slow.text_begin(topk, j) > 0:
            assert topk.end[j - 1] == slow.text_begin(topk, j) and topk.turn[j - 1] == topk.turn[j]
            j -= 1
            before = table.token(topk.labels[j])[slow.text_begin(topk, j) - topk.begin[j] :] + before
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
    attached = check_contexts(world.pivot, world.source, world.pivot_table, world.source_table)
    expected = slow.attach(world.pivot, world.source)
    assert attached.row.tolist() == [NOWHERE if j is None else j for j, _ in expected]
    assert attached.residual.tolist() == [r for _, r in expected]
    assert (attached.row != NOWHERE).all()


@settings(max_examples=50, deadline=None)
@given(worlds(k=1, led=False))
def test_attaching_to_itself_is_the_identity(world):
    attached = attach(world.pivot, world.pivot)
    assert attached.row.tolist() == list(range(world.pivot.rows)) and not attached.residual.any()


def test_what_the_source_lacks_is_nowhere():
    spans = [(0, 2), (2, 3), (3, 4)]

    def rendered(kept, turn=1):
        begin, end = zip(*(spans[i] for i in kept), strict=True)
        n = len(kept)
        return Rendered(*(np.array(x, np.int32) for x in ([1] * n, range(n), [turn] * n, begin, end)))

    pivot = spans_only([rendered([0, 1, 2])])
    assert attach(pivot, spans_only([rendered([1])])).row.tolist() == [-1, 0, -1]
    assert attach(pivot, spans_only([rendered([0, 1], turn=3)])).row.tolist() == [-1, -1, -1]
    assert attach(pivot, spans_only([rendered([2])])).row.tolist() == [-1, -1, 0]


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
    pivot, source = (spans_only([r.render(conversation)]) for r in (one, other))
    attached = check_contexts(pivot, source, one.table, other.table)
    assert (attached.row != NOWHERE).all()
    assert (pivot.end[pivot.begin >= 0] > pivot.begin[pivot.begin >= 0]).all()
