# V vocabulary rows, B bytes of all tokens, N tokens of a text, L bytes of a text
"""Token bytes as flat arrays, and the proof that tokens tile a text. PURE.

A vocabulary is one run of bytes and V + 1 offsets into it, so that every loop over tokens is a loop over flat
arrays. `tile_text` walks a text and its tokens together and accepts nothing but an exact match.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.compiled import njit

Array = NDArray[Any]
"""An array in the signature of a compiled loop, which determines its type at run time."""

Prefix = Literal["none", "always", "if_missing"]
"""Whether a space is put before a stretch of text: never, always (SentencePiece), or if missing."""

Ends = tuple[int | None, int | None]
"""End-of-turn tokens: the one after a last turn, and the one before a user's turn."""

ADDED, LSTRIP, RSTRIP, UNKNOWN, FALLBACK = 1, 2, 4, 8, 16
"""Bits of `ByteTable.flags`.

An added token, one that swallows spaces on its left or right, the unknown token, a byte-fallback piece.
"""

FITS, UNKNOWN_TOKEN, MISMATCH, TOO_SHORT, TOO_LONG, OUT_OF_RANGE = range(6)
REASONS = {
    UNKNOWN_TOKEN: "the text has characters the tokenizer does not know",
    MISMATCH: "the tokenizer changes the text",
    TOO_SHORT: "the tokens end before the text",
    TOO_LONG: "the tokens continue after the text",
    OUT_OF_RANGE: "a token id is beyond the vocabulary",
}


class Spans(NamedTuple):
    """Byte spans of a text's tokens.

    ``end[i] - begin[i]`` is the number of bytes of token i; where the tokenizer put a space before a stretch
    of text, ``begin`` of the stretch's first token is one byte before the stretch, even where an added token
    ends there. Added tokens span the spaces that they swallow.

    Attributes:
        begin, end: int32 [N].
    """

    begin: NDArray[np.int32]
    end: NDArray[np.int32]

    @property
    def text_begin(self) -> NDArray[np.int32]:
        """The first byte of text that each token covers, int32 [N]: ``begin`` without an added space.

        A token that is only that space covers no byte.
        """
        return np.maximum(self.begin, np.concatenate([[np.int32(0)], self.end[:-1]])[: len(self.begin)])


class Untiled(NamedTuple):
    """Why tokens do not tile a text: the reason, the token and the byte where it shows."""

    reason: str
    token: int
    byte: int


class Words(NamedTuple):
    """The arrays of a `ByteTable` that compiled loops read."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    in_text: NDArray[np.bool_]


class Tiles(NamedTuple):
    """The parts of a `ByteTable` that decide whether tokens tile a text.

    Attributes:
        data, offsets, flags: The table's arrays.
        always: Whether a run of tokens is first tried with a space before it.
        allowed: Whether it is also tried the other way if that fails.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    flags: NDArray[np.uint8]
    always: bool
    allowed: bool


@dataclass(frozen=True, eq=False)
class ByteTable:
    """The bytes of every row of a vocabulary.

    Attributes:
        data: uint8 [B], bytes of all tokens, one after the other.
        offsets: int64 [V + 1], token v is data[offsets[v]:offsets[v + 1]].
        in_text: bool [V], False for control tokens and unused rows, which have no bytes in a text.
        flags: uint8 [V], see `ADDED` and its neighbours.
        prefix: Whether the tokenizer puts a space before a stretch of text.
        bos, eos: Ids by role, None if the tokenizer has none.
        ends: The first token after an assistant's turn in the model's template: after a last turn, and before
            a user's; None if the template writes none.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    in_text: NDArray[np.bool_]
    flags: NDArray[np.uint8]
    prefix: Prefix = "none"
    bos: int | None = None
    eos: int | None = None
    ends: Ends = (None, None)

    def __post_init__(self) -> None:
        assert len(self.offsets) == len(self.in_text) + 1 == len(self.flags) + 1, "one offset more than rows"
        assert self.offsets[0] == 0 and self.offsets[-1] == len(self.data), "offsets must cover the bytes"

    @property
    def size(self) -> int:
        """V, the rows of a model's head that may be used."""
        return len(self.in_text)

    @property
    def words(self) -> Words:
        """Its arrays, for compiled loops."""
        return Words(self.data, self.offsets, self.in_text)

    @cached_property
    def _tiles(self) -> Tiles:
        always, allowed = self.prefix == "always", self.prefix != "none"
        return Tiles(self.data, self.offsets, self.flags, always, allowed)

    def token(self, index: int | np.integer) -> bytes:
        """The bytes of one token (of a control token: its spelling)."""
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that alignment reads from the table."""
        state = hashlib.sha256()
        for part in (self.data, self.offsets, self.in_text, self.flags):
            state.update(np.ascontiguousarray(part).tobytes())
        state.update(repr((self.prefix, self.bos, self.eos, self.ends)).encode())
        return state.hexdigest()

    def same_text_tokens(self, other: "ByteTable") -> bool:
        """Whether both have the same bytes for the same ids, ignoring control tokens and unused rows."""
        low = min(self.size, other.size)
        if self.in_text[low:].any() or other.in_text[low:].any():
            return False
        if not np.array_equal(self.in_text[:low], other.in_text[:low]):
            return False
        mine, theirs = np.diff(self.offsets)[:low], np.diff(other.offsets)[:low]
        if not np.array_equal(mine[self.in_text[:low]], theirs[self.in_text[:low]]):
            return False
        ids = np.flatnonzero(self.in_text[:low]).astype(np.int64)
        return np.array_equal(gather(self.data, self.offsets, ids), gather(other.data, other.offsets, ids))

    def starts_with_tokens(
        self, ids: NDArray[np.integer], other: "ByteTable", other_ids: NDArray[np.integer]
    ) -> NDArray[np.bool_]:
        """Whether each token of ``ids`` begins with the other table's token in ``other_ids``, bool [N]."""
        begins: NDArray[np.bool_] = begin_with(self.words, ids, other.words, other_ids)
        return begins

    def tile(self, ids: NDArray[np.integer], text: bytes) -> Spans | Untiled:
        """Byte spans of the tokens of ``text``, or why its tokens do not tile it exactly.

        Args:
            ids: int [N], the tokenizer's tokens of the text.
            text: The UTF-8 bytes that were tokenized, control tokens spelled out.
        """
        tokens = np.ascontiguousarray(ids, dtype=np.int64)
        raw = np.frombuffer(text, dtype=np.uint8)
        begin, end, code, token, byte = tile_text(raw, tokens, self._tiles)
        if code != FITS:
            return Untiled(REASONS[code], int(token), int(byte))
        return Spans(begin, end)


def make_table(
    tokens: list[bytes],
    in_text: NDArray[np.bool_] | None = None,
    flags: NDArray[np.uint8] | None = None,
    *,
    prefix: Prefix = "none",
    bos: int | None = None,
    eos: int | None = None,
    ends: Ends = (None, None),
) -> ByteTable:
    """A table from a list of byte strings; by default every non-empty one is text."""
    lengths = np.array([len(token) for token in tokens], dtype=np.int64)
    return ByteTable(
        data=np.frombuffer(b"".join(tokens), dtype=np.uint8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        in_text=lengths > 0 if in_text is None else in_text & (lengths > 0),
        flags=np.zeros(len(tokens), np.uint8) if flags is None else flags,
        prefix=prefix,
        bos=bos,
        eos=eos,
        ends=ends,
    )


@njit(nogil=True)
def gather(data: Array, offsets: Array, ids: Array) -> Array:
    """The concatenated bytes of the tokens ``ids``, uint8."""
    total = 0
    for token in ids:
        total += offsets[token + 1] - offsets[token]
    out = np.empty(total, np.uint8)
    at = 0
    for token in ids:
        for source in range(offsets[token], offsets[token + 1]):
            out[at] = data[source]
            at += 1
    return out


@njit(nogil=True)
def begin_with(words: Words, ids: Array, words_W: Words, ids_W: Array) -> Array:
    """Whether each token in ``ids`` begins with the token of another vocabulary in ``ids_W``, bool."""
    data, offsets, data_W, offsets_W = words.data, words.offsets, words_W.data, words_W.offsets
    out = np.zeros(len(ids), np.bool_)
    for i in range(len(ids)):
        at, low, high = offsets[ids[i]], offsets_W[ids_W[i]], offsets_W[ids_W[i] + 1]
        same = high - low <= offsets[ids[i] + 1] - at
        while same and low < high:
            same = data[at] == data_W[low]
            at, low = at + 1, low + 1
        out[i] = same
    return out


@njit(nogil=True)
def blank(text: Array, at: int) -> int:
    """Bytes of the white-space character at ``at``, 0 if there is none (Unicode's White_Space property)."""
    left = len(text) - at
    if left < 1:
        return 0
    first = text[at]
    if first == 32 or (9 <= first <= 13):
        return 1
    if left >= 2 and first == 0xC2 and (text[at + 1] == 0x85 or text[at + 1] == 0xA0):
        return 2
    if left < 3:
        return 0
    second, third = text[at + 1], text[at + 2]
    if first == 0xE1 and second == 0x9A and third == 0x80:
        return 3
    if first == 0xE2 and second == 0x80 and (0x80 <= third <= 0x8A or 0xA8 <= third <= 0xA9 or third == 0xAF):
        return 3
    if (first == 0xE2 and second == 0x81 and third == 0x9F) or (first == 0xE3 and second == 0x80 == third):
        return 3
    return 0


@njit(nogil=True)
def skip_blanks(text: Array, at: int) -> int:
    """The first byte at or after ``at`` that is not white space."""
    step = blank(text, at)
    while step:
        at += step
        step = blank(text, at)
    return at


@njit(nogil=True)
def match_run(text: Array, at: int, run: Array, tiles: Tiles, skip: int) -> int:
    """Where tokens first..last-1, without ``skip`` leading bytes, end in the text.

    -1 - token if they differ at that token.
    """
    data, offsets = tiles.data, tiles.offsets
    for i in range(len(run)):
        for source in range(offsets[run[i]], offsets[run[i] + 1]):
            if skip > 0:
                if data[source] != 32:
                    return -1 - i
                skip -= 1
                continue
            if at >= len(text) or text[at] != data[source]:
                return -1 - i
            at += 1
    return at


@njit(nogil=True)
def literal(text: Array, at: int, token: int, tiles: Tiles) -> bool:
    """Whether the text at ``at`` is the spelling of ``token``."""
    data, low, high = tiles.data, tiles.offsets[token], tiles.offsets[token + 1]
    same = low < high and at + high - low <= len(text)
    while same and low < high:
        same = text[at] == data[low]
        low, at = low + 1, at + 1
    return same


@njit(nogil=True)
def run_end(ids: Array, first: int, flags: Array) -> int:
    """The first token at or after ``first`` that is added or unknown, or the number of tokens."""
    while first < len(ids) and not flags[ids[first]] & (1 | 8):
        first += 1
    return first


@njit(nogil=True)
def match_either(text: Array, at: int, run: Array, tiles: Tiles) -> tuple[int, int]:
    """Match a run with or without a space before it: (end or `match_run`'s failure, the space's bytes)."""
    skip = 1 if tiles.always else 0
    stop = match_run(text, at, run, tiles, skip)
    if stop < 0 and tiles.allowed:
        other = match_run(text, at, run, tiles, 1 - skip)
        if other >= 0:
            return other, 1 - skip
    return stop, skip


@njit(nogil=True)
def match_added(text: Array, at: int, token: int, tiles: Tiles) -> int:
    """Where an added token and the spaces that it swallows end; -1 if it is not at ``at``."""
    if tiles.flags[token] & 2:
        at = skip_blanks(text, at)
    if not literal(text, at, token, tiles):
        return -1
    at += tiles.offsets[token + 1] - tiles.offsets[token]
    return skip_blanks(text, at) if tiles.flags[token] & 4 else at


@njit(nogil=True)
def tile_text(text: Array, ids: Array, tiles: Tiles) -> tuple[Array, Array, int, int, int]:
    """Spans of the tokens of a text: (begin, end, code, token, byte); see `ByteTable.tile`.

    Between added tokens, the bytes of a run of tokens must equal the text, after one space put before it
    where the tokenizer does so.
    """
    count, offsets, flags = len(ids), tiles.offsets, tiles.flags
    begin, end = np.zeros(count, np.int32), np.zeros(count, np.int32)
    # 1. ids beyond the vocabulary have no bytes to compare
    for i in range(count):
        if ids[i] < 0 or ids[i] >= len(flags):
            return begin, end, 5, i, 0
    at, i = 0, 0
    while i < count:
        # 2. tokens up to the next added one: their bytes are the text's, perhaps after a space that the tokenizer adds
        last = run_end(ids, i, flags)
        if last > i:
            stop, skip = match_either(text, at, ids[i:last], tiles)
            if stop < 0:
                return begin, end, 2, i - 1 - stop, at
            at -= skip
            for j in range(i, last):
                begin[j] = at
                at += offsets[ids[j] + 1] - offsets[ids[j]]
                end[j] = at
        # 3. the added token, with the spaces that it swallows
        if last < count:
            stop = match_added(text, at, ids[last], tiles)
            if stop < 0:
                return begin, end, (1 if flags[ids[last]] & 8 else 2), last, at
            begin[last], end[last], at = at, stop, stop
            last += 1
        i = last
    # 4. no text may be left over
    if at != len(text):
        return begin, end, (3 if at < len(text) else 4), count, at
    return begin, end, 0, count, at
