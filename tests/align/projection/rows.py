"""A source row and its vocabularies, small enough to project by hand, as the package and its loops read them."""

from typing import NamedTuple

import numpy as np

from fusionchat.align.projection.arrays import Entries, Lookup, Rules, Side
from fusionchat.align.projection.project import side
from fusionchat.align.settings import BytePrefix
from fusionchat.align.trie import trie_of
from fusionchat.align.vocabulary import build_map
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.topk import Scored, TopK
from fusionchat.tokens.spans import Words, make_table
from tests.align.worlds import capture

SOURCE = [b"hello", b"hell", b"ho", b"x"]
PIVOT = [b"h", b"e", b"ello", b"ell", b"o", b"x"]


def scored(rows, labels, *, label_logprob=None, end=None, turn=None):
    """Rows of {token: probability} as a capture keeps them, the rest of each in its tail; every label has 5 bytes."""
    k = max(map(len, rows))
    ids, mass = np.zeros((len(rows), k), np.int32), np.zeros((len(rows), k))
    for i, one in enumerate(rows):
        ids[i, : len(one)], mass[i, : len(one)] = list(one), list(one.values())
    end = 5 * np.arange(1, len(rows) + 1) if end is None else np.array(end)
    own = [np.log(one[t]) if t in one else np.nan for one, t in zip(rows, labels, strict=True)]
    with np.errstate(divide="ignore"):
        topk = TopK(
            ids=ids,
            logprobs=np.log(mass).astype(np.float16),
            tail=np.log(1 - mass.sum(axis=1)).astype(np.float16),
            present=np.ones(len(rows), bool),
        )
    tokens = SupervisedTokens(
        labels=np.array(labels, np.int32),
        turn=np.ones(len(rows), np.int32) if turn is None else np.array(turn, np.int32),
        begin=np.concatenate([[0], end[:-1]]).astype(np.int32),
        end=end.astype(np.int32),
        offsets=np.array([0, len(rows)]),
    )
    return Scored(tokens, topk, np.array(own if label_logprob is None else label_logprob, np.float32))


def hello(k):
    """A source at "hello" that says 0.6 hello, 0.2 hell, 0.1 ho, 0.1 x; the pivot writes h + ello."""
    source_table, pivot_table = make_table(SOURCE), make_table(PIVOT)
    row = dict(enumerate([0.6, 0.2, 0.1, 0.1][:k]))
    pivot = capture(np.random.default_rng(0), pivot_table, [[(0, [0, 2])]], 4)
    return (
        pivot.tokens,
        scored([row], [0]),
        build_map(source_table, pivot_table, BytePrefix()),
        (pivot_table, source_table),
    )


class Loops(NamedTuple):
    """What the loops read of a source and two vocabularies."""

    side: Side
    words: Words
    words_W: Words
    lookup: Lookup


def loops(source, source_tokens=SOURCE, pivot_tokens=PIVOT, *, whole=False, control=0):
    """The arrays for the loops; the last ``control`` tokens of the source are no text."""
    in_text = np.arange(len(source_tokens)) < len(source_tokens) - control
    theirs, mine = make_table(source_tokens, in_text), make_table(pivot_tokens)
    made = build_map(theirs, mine, BytePrefix())
    lookup = Lookup(made.target, made.rest, made.alike, int(in_text.sum()), *trie_of(mine), whole)
    return Loops(side(source), theirs.words, mine.words, lookup)


def rules(*, observed_path=True, mid_token=True, min_mass=0.0):
    """The switches."""
    return Rules(mid_token, observed_path, min_mass)


def entries(tokens=(), mass=(), goal=(), size=8):
    """Room for entries, some of them there."""
    made = Entries(
        token=np.zeros(size, np.int64),
        mass=np.zeros(size, np.float64),
        logprob=np.zeros(size, np.float32),
        goal=np.full(size, -1, np.int64),
        slot=np.zeros(size, np.int64),
        slot_mass=np.zeros(size, np.float64),
        slot_logprob=np.zeros(size, np.float32),
        slot_parts=np.zeros(size, np.int64),
    )
    made.token[: len(tokens)], made.mass[: len(mass)], made.goal[: len(goal)] = tokens, mass, goal
    made.logprob[: len(mass)] = np.log(mass)
    return made


def slots(tokens, mass, parts=None, size=8):
    """Room with output entries."""
    made = entries(size=size)
    n = len(tokens)
    made.slot[:n], made.slot_mass[:n], made.slot_logprob[:n] = tokens, mass, np.log(mass)
    made.slot_parts[:n] = np.ones(n) if parts is None else parts
    return made
