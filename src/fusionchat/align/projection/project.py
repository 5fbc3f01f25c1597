# N pivot rows, M source rows, C conversations, O output slots
"""A source's distributions on the pivot's rows and vocabulary, a shard at once. PURE.

The source has one token where the pivot has two, and predicts 0.6 hello, 0.2 hell, 0.1 ho, 0.1 x:

    pivot row    context                      what it gets
    h            the source's: exact          h 0.9 (all that begins with h), x 0.1
    ello         inside hello, after u = h    ello 0.6/0.9, ell 0.2/0.9, o 0.1/0.9

and 0.9 * 0.6/0.9 = 0.6 is what the source says of hello. docs/alignment.md has the rules, and this example
with the other direction. A row is *exact* where the source has the pivot's context, *inside* where the
context ends inside a source token (the source's distribution is then conditioned on the bytes u of that token
that come before), and *unaligned* where there is no source distribution to carry over.

With T the source's known probabilities (its k tokens and its label) and U its tail, the mass that begins with
u is M + t: M = sum of T over the known tokens that begin with u, t = U times the share of the vocabulary's
other tokens that do. Conditioned, a known token has T / (M + t) and the tail t / (M + t); where M / (M + t)
is under ``min_mass`` the row is unaligned. With the whole distribution known, t = 0 and this is the plain
conditional (docs/decisions/alignment_tail.md says why the tail has its share).
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.align.baselines.dtw import attach_by_dtw
from fusionchat.align.cooccurrence import PairCounts, count_pairs
from fusionchat.align.positions import Attached, attach, places
from fusionchat.align.projection.arrays import (
    EXACT,
    INSIDE,
    UNALIGNED,
    Lookup,
    Out,
    Rules,
    Side,
    Task,
)
from fusionchat.align.projection.kernel import kinds_of_rows, project_rows
from fusionchat.align.settings import AlignSettings
from fusionchat.align.trie import trie_of
from fusionchat.align.vocabulary import VocabularyMap
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.events import text_begins
from fusionchat.represent.topk import Scored, TopK
from fusionchat.tokens.spans import ByteTable

__all__ = [
    "EXACT",
    "INSIDE",
    "UNALIGNED",
    "Aligned",
    "count_partners",
    "find_rows",
    "project",
    "row_kinds",
]


class Aligned(NamedTuple):
    """A source's distributions on the pivot's rows.

    Attributes:
        topk: The source's distributions over the pivot's vocabulary, one for each of the pivot's rows.
        label_logprob: float32 [N], of the pivot's label (NaN where unaligned; a label without a slot has its
            even share of the tail).
        kind: uint8 [N], `EXACT`, `INSIDE` or `UNALIGNED`.
        kept: float32 [N], mass in slots.
        map_logprob: float32 [N], as ``label_logprob``, but without the observed path.
        path_logprob: float32 [N], the source's own log-probability of the bytes of the pivot's label by the
            chain rule, NaN where its tokens do not determine it.
    """

    topk: TopK
    label_logprob: NDArray[np.float32]
    kind: NDArray[np.uint8]
    kept: NDArray[np.float32]
    map_logprob: NDArray[np.float32]
    path_logprob: NDArray[np.float32]


def project(
    pivot: SupervisedTokens,
    source: Scored,
    mapping: VocabularyMap,
    tables: tuple[ByteTable, ByteTable],
    settings: AlignSettings,
) -> Aligned:
    """The source's distributions on the pivot's rows, for the same conversations in the same order.

    ``tables`` are the pivot's and the source's.

    Where both sides have the same tokens in the same places, the source's distributions are returned as they
    are, bit for bit (cut to ``settings.k`` slots, or widened, where that is given).
    """
    # 1. the same tokens in the same places: the source's distributions as they are
    theirs, k = source.tokens, source.topk.k
    pivot_table, source_table = tables
    assert source.topk.ids.max(initial=0) < source_table.size, "a capture keeps tokens of its tokenizer only"
    if mapping.method == "identity" and settings.k in (None, k) and same_rows(pivot, theirs, mapping):
        return _same(source)
    # 2. the source row of each pivot row; a row without one stays unaligned, as it is initialised here
    attached = find_rows(pivot, theirs, pivot_table, source_table, settings)
    slots = settings.k or k
    out = Out(
        ids=np.zeros((pivot.rows, slots), np.int32),
        logprobs=np.full((pivot.rows, slots), -np.inf, np.float32),
        tail=np.full(pivot.rows, -np.inf, np.float32),
        label_logprob=np.full(pivot.rows, np.nan, np.float32),
        map_logprob=np.full(pivot.rows, np.nan, np.float32),
        path_logprob=np.full(pivot.rows, np.nan, np.float32),
        kept=np.zeros(pivot.rows, np.float32),
        kind=np.zeros(pivot.rows, np.uint8),
    )
    # 3. each row in fp32, see `fusionchat.align.projection.kernel`
    text_tokens = int(source_table.in_text.sum())
    whole = mapping.method == "exact"
    lookup = Lookup(mapping.target, mapping.rest, mapping.alike, text_tokens, *trie_of(pivot_table), whole)
    rules = Rules(settings.mid_token, settings.observed_path, settings.min_mass)
    task = Task(places(pivot), side(source), source_table.words, pivot_table.words, lookup, rules)
    project_rows(attached, task, out)
    # 4. stored in fp16, like a capture
    with np.errstate(over="ignore", under="ignore"):
        logprobs, tail = out.logprobs.astype(np.float16), out.tail.astype(np.float16)
    topk = TopK(out.ids, logprobs, tail, out.kind != UNALIGNED)
    return Aligned(topk, out.label_logprob, out.kind, out.kept, out.map_logprob, out.path_logprob)


def find_rows(
    pivot: SupervisedTokens,
    source: SupervisedTokens,
    pivot_table: ByteTable,
    source_table: ByteTable,
    settings: AlignSettings,
) -> Attached:
    """The source row of every pivot row by the settings' method."""
    if settings.positions == "dtw":
        return attach_by_dtw(pivot, source, pivot_table, source_table)
    return attach(pivot, source)


def row_kinds(
    pivot: SupervisedTokens,
    source: SupervisedTokens,
    attached: Attached,
    pivot_table: ByteTable,
    source_table: ByteTable,
) -> NDArray[np.uint8]:
    """The alignment code of every pivot row, from where its context ends: uint8 [N].

    Template bytes that both sides have are context.
    """
    kinds: NDArray[np.uint8] = kinds_of_rows(
        attached, places(pivot), places(source), source_table.words, pivot_table.words
    )
    return kinds


def count_partners(
    pivot: SupervisedTokens,
    source: SupervisedTokens,
    pivot_table: ByteTable,
    source_table: ByteTable,
    settings: AlignSettings,
) -> PairCounts:
    """How often the two sides' labels meet where they begin at the same byte.

    What `Statistics` is built from.
    """
    attached = find_rows(pivot, source, pivot_table, source_table, settings)
    whole = pivot.begin == text_begins(pivot)
    met = np.flatnonzero((attached.row >= 0) & (attached.residual == 0) & whole)
    theirs, mine = source.labels[attached.row[met]], pivot.labels[met]
    text = source_table.in_text[theirs] & pivot_table.in_text[mine]
    return count_pairs(theirs[text], mine[text])


def same_rows(pivot: SupervisedTokens, source: SupervisedTokens, mapping: VocabularyMap) -> bool:
    """Whether both sides have the same rows with the same tokens, and these are mapped to themselves."""
    if not pivot.same_as(source):
        return False
    return bool((mapping.target == np.arange(len(mapping.target), dtype=np.int32)).all())


def _same(source: Scored) -> Aligned:
    topk = source.topk
    kind = np.where(topk.present, EXACT, UNALIGNED).astype(np.uint8)
    label = np.where(topk.present, source.label_logprob, np.nan).astype(np.float32)
    kept = np.exp(topk.logprobs.astype(np.float32)).sum(axis=1) * topk.present
    return Aligned(topk, label, kind, kept.astype(np.float32), label, label)


def side(source: Scored) -> Side:
    """A source's arrays for the loops."""
    tokens, topk = source.tokens, source.topk
    return Side(
        np.ascontiguousarray(topk.ids),
        np.ascontiguousarray(topk.logprobs).view(np.uint16),
        np.ascontiguousarray(topk.tail).view(np.uint16),
        tokens.labels,
        source.label_logprob,
        tokens.turn,
        tokens.begin,
        text_begins(tokens),
        tokens.end,
        topk.present,
        tokens.offsets,
        *halves(),
    )


@cache
def halves() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The value of every half by its bits, and its exponential, both fp32 [65536]."""
    values = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(all="ignore"):
        return values, np.exp(values)
