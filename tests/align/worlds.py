"""Small invented worlds: two vocabularies over a few letters, one text, tokenized twice, with random distributions."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.topk import Scored, TopK
from fusionchat.tokens.spans import ByteTable, make_table

LETTERS = "ab c é你"


class World(NamedTuple):
    pivot: Scored
    source: Scored
    pivot_table: ByteTable
    source_table: ByteTable
    texts: list[list[str]]


def table(words, *, eot_first=False):
    """A byte-complete vocabulary: single bytes of the letters, the words, one control token."""
    singles = sorted({bytes([b]) for b in LETTERS.encode()})
    tokens = [*singles, *sorted({w.encode() for w in words} - set(singles))]
    control = b"<end>"
    tokens = [control, *tokens] if eot_first else [*tokens, control]
    in_text = np.array([t != control for t in tokens])
    return make_table(tokens, in_text, eos=0 if eot_first else len(tokens) - 1)


def split(draw, vocabulary, raw, led):
    """One of the ways to write ``raw`` with a vocabulary's tokens: (bytes of each token that are not the text's, ids).

    A token may have a space in front that is not in the text, as SentencePiece has it at the start of a text and after
    added tokens; there it may be that space alone.
    """
    spelled = {vocabulary.token(t): t for t in range(vocabulary.size) if vocabulary.in_text[t]}
    at, ids, leads = 0, [], []
    longest = max(map(len, spelled))
    while at < len(raw):
        leading = [w for w in spelled if w[:1] == b" " and raw.startswith(w[1:], at) and (at or len(w) > 1)]
        follows_space = ids and leads[-1] and vocabulary.token(ids[-1]) == b" "
        lead = int(led and bool(leading) and not follows_space and draw(st.booleans()))
        if lead:
            word = draw(st.sampled_from(leading))
        else:
            fits = [n for n in range(1, longest + 1) if raw[at : at + n] in spelled and at + n <= len(raw)]
            word = raw[at : at + draw(st.sampled_from(fits))]
        ids.append(spelled[word])
        leads.append(lead)
        at += len(word) - lead
    return leads, ids


def capture(rng, vocabulary, turns_of, k):
    """Random distributions for token lists of conversations: [[(bytes not of the text, ids) of a turn, ...], ...].

    The bytes that are not of the text are given for each token, or as 0 for all.
    """
    labels, turn, begin, end, offsets = [], [], [], [], [0]
    for conversation in turns_of:
        for t, (lead, ids) in enumerate(conversation):
            at = 0
            for i, own in zip(ids, lead or [0] * len(ids), strict=True):
                size = len(vocabulary.token(i)) if vocabulary.in_text[i] else 1
                labels.append(i)
                turn.append(2 * t + 1)
                begin.append(at - own)
                at += size - own
                end.append(at)
        offsets.append(len(labels))
    n, k = len(labels), min(k, vocabulary.size)
    logits = rng.normal(size=(n, vocabulary.size)) * 3
    logprobs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    ids = np.argsort(-logprobs, axis=1, kind="stable")[:, :k].astype(np.int32)
    kept = np.take_along_axis(logprobs, ids, 1)
    left = np.maximum(1 - np.exp(kept).sum(1), 0)
    with np.errstate(divide="ignore"):
        tail = np.log(np.where(left < 1e-6, 0, left)).astype(np.float16)
    labels = np.array(labels, np.int32)
    tokens = SupervisedTokens(
        labels=labels,
        turn=np.array(turn, np.int32),
        begin=np.array(begin, np.int32),
        end=np.array(end, np.int32),
        offsets=np.array(offsets, np.int64),
    )
    topk = TopK(ids, kept.astype(np.float16), tail, np.ones(n, bool))
    return Scored(tokens, topk, logprobs[np.arange(n), labels].astype(np.float32))


def ended(turn, vocabulary, ends):
    """A turn with its end-of-turn token, if it is to have one."""
    lead, ids = turn
    return ([*lead, 0], [*ids, vocabulary.eos]) if ends else (lead, ids)


@st.composite
def worlds(draw, k=None, ends=True, led=True):
    """A world; ``k`` slots a row, drawn if None; turns end if ``ends``; tokens may have a space in front if ``led``."""
    word = st.text(LETTERS, min_size=2, max_size=4) | st.text(LETTERS, min_size=1, max_size=2).map(
        " {}".format
    )
    tables = [table(draw(st.lists(word, max_size=8)), eot_first=draw(st.booleans())) for _ in range(2)]
    texts = draw(
        st.lists(st.lists(st.text(LETTERS, max_size=8), min_size=1, max_size=2), min_size=1, max_size=2)
    )
    slots = draw(st.integers(1, 12)) if k is None else k
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    captures = [
        capture(
            rng,
            one,
            [[ended(split(draw, one, t.encode(), led), one, ends) for t in turns] for turns in texts],
            slots,
        )
        for one in tables
    ]
    return World(*captures, *tables, texts)
