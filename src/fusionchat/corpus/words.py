# N words of a text, S shingles
"""Texts as words, and hashes of their runs that are the same in every process.

Case, width (NFKC), punctuation and spacing are ignored. In scripts without spaces between words (Chinese,
Japanese, Thai ...) every character is a word.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

RUN = 8
"""Words of a shingle."""

LETTERS_OF_WORDS = (
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Han and kana: a word has about two of these characters."""

LETTERS_OF_SYLLABLES = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF))
"""Thai, Lao, Tibetan, Burmese, Khmer: a word has about four of these characters."""

OPERATOR = re.compile(r"(?<=[\d)])\s*([-*/])\s*(?=[\d(])")
OPERATORS = {"-": "\u2212", "*": "\u00d7", "/": "\u00f7"}
"""Between numbers these three are operators and change the meaning; elsewhere they are punctuation."""

BASE = np.uint64(0x9E3779B97F4A7C15)


class _Characters(dict[int, str]):
    """The replacement of each character before a text is split at spaces."""

    def __missing__(self, code: int) -> str:
        character, kind = chr(code), unicodedata.category(chr(code))
        if kind == "Cf" or 0xFE00 <= code <= 0xFE0F:  # invisible: joiners, marks, how an emoji is drawn
            shown = ""
        elif kind[0] in "PZC" or kind == "Sk":
            shown = " "
        elif kind[0] == "S" or share_of_word(character) < 1:
            shown = f" {character} "
        else:
            shown = character
        self[code] = shown
        return shown


CHARACTERS = _Characters()


def words(text: str) -> list[str]:
    """The words of a text; a text of nothing but punctuation is one word."""
    folded = text if text.isascii() else unicodedata.normalize("NFKC", text)
    folded = OPERATOR.sub(lambda match: OPERATORS[match[1]], folded.casefold())
    return folded.translate(CHARACTERS).split() or text.split()


def share_of_word(character: str) -> float:
    """The part of a word that one character is, in a script without spaces; 1 in any other."""
    code = ord(character)
    if any(first <= code <= last for first, last in LETTERS_OF_WORDS):
        return 0.5
    if any(first <= code <= last for first, last in LETTERS_OF_SYLLABLES):
        return 0.25
    return 1.0


def length(found: Sequence[str]) -> float:
    """The number of words, where characters of scripts without spaces count as parts of words."""
    return sum(1.0 if len(word) > 1 or word.isascii() else share_of_word(word) for word in found)


@lru_cache(maxsize=1 << 18)
def word_hash(word: str) -> int:
    """A hash of 64 bits; Python's own differs from process to process."""
    return int.from_bytes(blake2b(word.encode(errors="replace"), digest_size=8).digest(), "little")


def text_hash(found: Sequence[str]) -> int:
    """A hash of a whole text."""
    return int.from_bytes(blake2b(" ".join(found).encode(errors="replace"), digest_size=8).digest(), "little")


def shingles(found: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes of all runs of 8 words, each once, sorted: uint64 [S]; none for fewer words.

    The hash of words w is sum of h(w_i) B^(7-i) mod 2^64 with B odd, a polynomial in hashes that are random
    themselves.
    """
    count = len(found) - RUN + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    hashes_N = np.fromiter(map(word_hash, found), np.uint64, len(found))
    runs_S = np.zeros(count, np.uint64)
    for i in range(RUN):
        runs_S = runs_S * BASE + hashes_N[i : i + count]
    return np.unique(runs_S)
