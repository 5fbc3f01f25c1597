"""Options made of held-out answers. PURE.

The wrong ones are answers of other items of the same domain.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

POOL = 64
"""Texts of the nearest lengths, of which a seed draws half, or `AMONG` times what is wanted if that is more."""
AMONG = 4
LONGEST = 2.0
"""A wrong option has at most this many times the right one's bytes, or the right one of its."""
SAME = 0.8
"""Share of triples of characters from which on two texts say the same: none of them is a wrong option of the other."""


def size(text: str) -> int:
    """UTF-8 bytes of a text."""
    return len(text.encode())


def shorten(text: str, most: int) -> str:
    """The text up to its last whole word within ``most`` UTF-8 bytes.

    Cut inside the first word where that is longer.
    """
    raw = text.encode()
    if len(raw) <= most:
        return text
    kept = raw[:most].decode(errors="ignore")
    whole = kept if text[len(kept)].isspace() else re.sub(r"\S+$", "", kept)
    return whole.rstrip() or kept


def divide(text: str, share: float) -> tuple[str, str, str] | None:
    """What is given of a text, the white space after it, and the rest.

    None for a text without a place to divide it.

    It is divided at the end of the line nearest to the share of its characters, where one is within a quarter of the text,
    else at the nearest space.
    """
    spaces = [m for m in re.finditer(r"\s+", text) if m.start() > 0 and m.end() < len(text)]
    wanted = share * len(text)
    lines = [m for m in spaces if "\n" in m[0] and abs(m.start() - wanted) <= len(text) / 4]
    nearest = min(lines or spaces, key=lambda m: abs(m.start() - wanted), default=None)
    return None if nearest is None else (text[: nearest.start()], nearest[0], text[nearest.end() :])


class Text(NamedTuple):
    """A text that may be a wrong option, in the order of length.

    Attributes:
        size: UTF-8 bytes.
        text: The text.
        bare: The text without what makes no other answer of it, see `normal`.
        triples: See `triples_of`.
    """

    size: int
    text: str
    bare: str
    triples: frozenset[str]

    @classmethod
    def of(cls, text: str) -> "Text":
        """A text with what it is compared by."""
        return cls(size(text), text, normal(text), triples_of(text))


def pools(texts: Sequence[str], domains: Sequence[str]) -> dict[str, list[Text]]:
    """The different texts of each domain by length.

    Neither their order nor how often one is there changes them.
    """
    groups = defaultdict[str, dict[str, str]](dict)
    for text, domain in sorted(zip(texts, domains, strict=True)):
        groups[domain].setdefault(normal(text), text)
    return {domain: sorted(map(Text.of, group.values()), key=place_of) for domain, group in groups.items()}


def place_of(one: Text) -> tuple[int, str]:
    """What a pool is sorted by."""
    return one.size, one.text


def wrong_options(text: str, pool: Sequence[Text], count: int, seed: int) -> list[str]:
    """``count`` other texts of the pool, no two the same; fewer where the pool has fewer that will do.

    Of the `POOL` texts nearest in length, so that length gives nothing away, the seed draws some; the most similar of
    them are taken, by the share of the triples of characters that they have in common. What differs in white space and
    case alone, or hardly at all (`SAME`), is the same.
    """
    own = Text.of(text)
    place = bisect_left(pool, place_of(own), key=place_of)
    near = pool[max(0, place - POOL) : place + POOL]
    alike = [
        t for t in near if max(own.size, t.size) <= LONGEST * min(own.size, t.size) and t.bare != own.bare
    ]
    alike = sorted(alike, key=lambda t: (abs(t.size - own.size), t.text))[:POOL]
    drawn = sorted((key(seed, text, t.text), t) for t in alike)[: max(AMONG * count, len(alike) // 2)]
    ranked = sorted((-overlap(own.triples, t.triples), drawn_as, t.text) for drawn_as, t in drawn)
    return [other for likeness, _, other in ranked if -likeness < SAME][:count]


def normal(text: str) -> str:
    """A text without what makes no other answer of it: case, and how much white space is where."""
    return " ".join(text.split()).casefold()


def triples_of(text: str) -> frozenset[str]:
    """The triples of neighbouring characters of a text."""
    bare = normal(text)
    return frozenset(bare[i : i + 3] for i in range(max(1, len(bare) - 2)))


def overlap(first: frozenset[str], second: frozenset[str]) -> float:
    """What two sets have in common over what either has (Jaccard 1901)."""
    return len(first & second) / len(first | second)


def shuffled(right: str, wrong: Sequence[str], seed: int) -> tuple[tuple[str, ...], int]:
    """All options in an order that their texts and the seed give, and the place of the right one."""
    options = sorted([right, *wrong], key=lambda text: key(seed, "order", right, text))
    return tuple(options), options.index(right)


def key(seed: int, *texts: str) -> bytes:
    """A hash of texts and a seed that is the same in every process."""
    made = blake2b(str(seed).encode(), digest_size=16)
    for text in texts:
        raw = text.encode()
        made.update(len(raw).to_bytes(8, "little") + raw)
    return made.digest()
