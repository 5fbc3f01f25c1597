# V source vocabulary, W pivot vocabulary, B bytes of all source tokens
"""Vocabulary maps: which pivot token takes the mass of a source token, or of the rest of one. PURE.

A map is made once for a pair of tokenizers. Control tokens are mapped by role only; text tokens by bytes, by one of
the methods of docs/alignment.md.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.align.baselines.min_edit import nearest_tokens
from fusionchat.align.cooccurrence import PairCounts, most_frequent
from fusionchat.align.settings import BytePrefix, Exact, MinEdit, Statistics, VocabularyMethod
from fusionchat.align.trie import count_alike, longest_prefixes, trie_of
from fusionchat.tokens.spans import ByteTable

UNMAPPED = -1
Kind = Literal["none", "exact", "prefix", "edit", "statistics", "role"]
KINDS: tuple[Kind, ...] = ("none", "exact", "prefix", "edit", "statistics", "role")
NONE, EXACT, PREFIX, EDIT, STATISTICS, ROLE = range(len(KINDS))


@dataclass(frozen=True, eq=False)
class VocabularyMap:
    """Which pivot token takes the mass of each source token.

    Attributes:
        target: int32 [V], the pivot token for a whole source token, `UNMAPPED` for the tail.
        rest: int32 [B], the pivot token for the bytes of a source token from this one on.
        alike: int32 [B], how many source tokens share this one's prefix up to this byte.
        kind: uint8 [V], how ``target`` was found, an index of `KINDS`.
        method: The method's name, "identity" where both vocabularies are the same.
        source, pivot: Digests of the two tables.
    """

    target: NDArray[np.int32]
    rest: NDArray[np.int32]
    alike: NDArray[np.int32]
    kind: NDArray[np.uint8]
    method: str
    source: str
    pivot: str

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays of the map by name, to be saved; `from_arrays` is the way back."""
        return {"target": self.target, "rest": self.rest, "alike": self.alike, "kind": self.kind}

    def labels(self) -> dict[str, str]:
        """The words of the map by name, to be saved with the arrays."""
        return {"method": self.method, "source": self.source, "pivot": self.pivot}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]], labels: dict[str, str]) -> "VocabularyMap":
        """The map that `arrays` and `labels` were taken from."""
        return cls(
            target=arrays["target"].astype(np.int32, copy=False),
            rest=arrays["rest"].astype(np.int32, copy=False),
            alike=arrays["alike"].astype(np.int32, copy=False),
            kind=arrays["kind"].astype(np.uint8, copy=False),
            **labels,
        )


def build_map(
    source: ByteTable, pivot: ByteTable, method: VocabularyMethod, counts: PairCounts | None = None
) -> VocabularyMap:
    """The map from a source's vocabulary to the pivot's.

    Where both give the same bytes to the same ids, the map is the identity whatever the method.

    Args:
        source, pivot: The two tables.
        method: How text tokens are mapped.
        counts: Partners at the corpus's aligned positions; `Statistics` needs them, `BytePrefix` is better with
            them (docs/results/alignment_study.md).
    """
    if source.same_text_tokens(pivot):
        return _identity(source, pivot)
    trie = trie_of(pivot)
    whole = isinstance(method, Exact)
    rest = longest_prefixes(source.words, trie, whole)
    target = np.full(source.size, UNMAPPED, np.int32)
    kind = np.zeros(source.size, np.uint8)
    text = np.flatnonzero(source.in_text)
    target[text] = rest[source.offsets[text]]
    mapped = text[target[text] >= 0]
    lengths, theirs = np.diff(source.offsets), np.diff(pivot.offsets)
    kind[mapped] = np.where(theirs[target[mapped]] == lengths[mapped], EXACT, PREFIX)
    if isinstance(method, BytePrefix) and counts is not None:
        _apply_prefixes(source, pivot, counts, target, kind)
    if isinstance(method, MinEdit | Statistics):
        loose = text[kind[text] != EXACT]
        if isinstance(method, Statistics):
            assert counts is not None, "statistics are counted before the map is built"
            loose = _apply_statistics(source, pivot, counts, target, kind)
        if loose.size:
            near = np.where(target[loose] >= 0, lengths[loose] - theirs[target[loose]], 1 << 40)
            target[loose] = nearest_tokens(source, pivot, loose, near)
            kind[loose] = np.where(target[loose] >= 0, EDIT, NONE)
    _map_roles(source, pivot, target, kind)
    return VocabularyMap(target, rest, _alike(source), kind, method.method, source.digest, pivot.digest)


def _apply_prefixes(
    source: ByteTable,
    pivot: ByteTable,
    counts: PairCounts,
    target: NDArray[np.int32],
    kind: NDArray[np.uint8],
) -> None:
    """Map tokens without an equal to their most frequent partner among their byte prefixes."""
    prefix = source.starts_with_tokens(counts.source, pivot, counts.pivot) & (kind[counts.source] == PREFIX)
    best = most_frequent(source, pivot, PairCounts(*(part[prefix] for part in counts)))
    target[best >= 0] = best[best >= 0]


def _alike(source: ByteTable) -> NDArray[np.int32]:
    """How many text tokens share each one's prefix, byte by byte; see `VocabularyMap`."""
    alike: NDArray[np.int32] = count_alike(source.words, trie_of(source))
    return alike


def _apply_statistics(
    source: ByteTable,
    pivot: ByteTable,
    counts: PairCounts,
    target: NDArray[np.int32],
    kind: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Map the counted tokens to their partners; returns the text tokens that are left.

    These were not counted and have no equal.
    """
    best = most_frequent(source, pivot, counts)
    seen = np.flatnonzero((best >= 0) & source.in_text)
    target[seen] = best[seen]
    kind[seen] = STATISTICS
    return np.flatnonzero(source.in_text & (kind != EXACT) & (kind != STATISTICS))


def _map_roles(
    source: ByteTable, pivot: ByteTable, target: NDArray[np.int32], kind: NDArray[np.uint8]
) -> None:
    """Map begin and end of text, and the ends of turns, by role.

    For a token with two roles, the later one here counts.
    """
    (last, inner), (pivot_last, pivot_inner) = source.ends, pivot.ends
    ends = ((inner, pivot_inner), (last, pivot_last))
    for mine, theirs in ((source.bos, pivot.bos), (source.eos, pivot.eos), *ends):
        if mine is not None and theirs is not None and not source.in_text[mine]:
            target[mine] = theirs
            kind[mine] = ROLE


def _identity(source: ByteTable, pivot: ByteTable) -> VocabularyMap:
    """Every text token to itself, and the rest of one to the longest token that is a prefix of it."""
    rest = longest_prefixes(source.words, trie_of(pivot), False)
    target = np.where(source.in_text, np.arange(source.size), UNMAPPED).astype(np.int32)
    kind = np.where(source.in_text, EXACT, NONE).astype(np.uint8)
    if source.digest == pivot.digest:
        target, kind = np.arange(source.size, dtype=np.int32), np.full(source.size, EXACT, np.uint8)
    else:
        _map_roles(source, pivot, target, kind)
    return VocabularyMap(target, rest, _alike(source), kind, "identity", source.digest, pivot.digest)


class Coverage(NamedTuple):
    """Shares of a source's text tokens by how they are mapped, of the vocabulary and weighted by use.

    Attributes:
        tokens: Share of the text tokens of the vocabulary, by kind.
        used: Share of the tokens of a text, by kind; the same keys.
    """

    tokens: dict[str, float]
    used: dict[str, float]


def coverage(mapping: VocabularyMap, source: ByteTable, labels: NDArray[np.integer]) -> Coverage:
    """How a map covers a source's vocabulary, and the tokens ``labels`` of a text."""
    text = labels[source.in_text[labels]]
    return Coverage(_shares(mapping.kind[source.in_text]), _shares(mapping.kind[text]))


def _shares(kinds: NDArray[np.uint8]) -> dict[str, float]:
    counted = np.bincount(kinds, minlength=len(KINDS))
    return {name: float(counted[i]) / max(len(kinds), 1) for i, name in enumerate(KINDS) if name != "role"}
