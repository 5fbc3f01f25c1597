"""Options made from held-out answers: wrong ones are answers to other items of the domain. PURE."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

POOL = 64
"""The number of texts nearest in length among which a seed draws half.

It draws `AMONG` times the wanted number if that is more.
"""
AMONG = 4
LONGEST = 2.0
"""The largest ratio between the bytes of a wrong option and those of the right one, either way."""
SAME = 0.8
"""The share of character triples from which on two texts count as saying the same.

Neither is then a wrong option for the other.
"""


def size(text: str) -> int:
    """UTF-8 bytes of a text."""
    return len(text.encode())


def shorten(text: str, most: int) -> str:
    """The text up to its last whole word within ``most`` UTF-8 bytes.

    It is cut inside the first word if that is longer.
    """
    raw = text.encode()
    if len(raw) <= most:
        return text
    kept = raw[:most].decode(errors="ignore")
    whole = kept if text[len(kept)].isspace() else re.sub(r"\S+$", "", kept)
    return whole.rstrip() or kept


def divide(text: str, share: float) -> tuple[str, str, str] | None:
    """The given part of a text, the white space after it, and the rest; None if it cannot be divided.

    It is divided at the line end nearest to the share of its characters, if there is one within a quarter of
    the text, else at the nearest space.
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
        bare: The text in its normal form, see `normal`.
        triples: See `triples_of`.
    """

    size: int
    text: str
    bare: str
    triples: frozenset[str]

    @classmethod
    def of(cls, text: str) -> "Text":
        """A text with what is needed to compare it."""
        return cls(size(text), text, normal(text), triples_of(text))


def pools(texts: Sequence[str], domains: Sequence[str]) -> dict[str, list[Text]]:
    """The different texts of each domain by length, whatever their order and repetitions."""
    groups = defaultdict[str, dict[str, str]](dict)
    for text, domain in sorted(zip(texts, domains, strict=True)):
        groups[domain].setdefault(normal(text), text)
    return {domain: sorted(map(Text.of, group.values()), key=place_of) for domain, group in groups.items()}


def place_of(one: Text) -> tuple[int, str]:
    """The sort key of a pool."""
    return one.size, one.text


def wrong_options(text: str, pool: Sequence[Text], count: int, seed: int) -> list[str]:
    """``count`` other texts of the pool, all different; fewer if the pool has fewer suitable ones.

    The seed draws some of the `POOL` texts nearest in length, so that length gives nothing away; the most
    similar of them are chosen, by the share of common character triples. Texts that differ only in white
    space and case, or hardly at all (`SAME`), count as the same.
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
    """A text without differences that do not matter: case, and the amount of white space."""
    return " ".join(text.split()).casefold()


def triples_of(text: str) -> frozenset[str]:
    """The triples of consecutive characters of a text."""
    bare = normal(text)
    return frozenset(bare[i : i + 3] for i in range(max(1, len(bare) - 2)))


def overlap(first: frozenset[str], second: frozenset[str]) -> float:
    """The size of the intersection of two sets over that of their union (Jaccard 1901)."""
    return len(first & second) / len(first | second)


def shuffled(right: str, wrong: Sequence[str], seed: int) -> tuple[tuple[str, ...], int]:
    """All options in an order that depends on their texts and the seed, and the place of the right one."""
    options = sorted([right, *wrong], key=lambda text: key(seed, "order", right, text))
    return tuple(options), options.index(right)


def key(seed: int, *texts: str) -> bytes:
    """A hash of texts and a seed that is the same in every process."""
    made = blake2b(str(seed).encode(), digest_size=16)
    for text in texts:
        raw = text.encode()
        made.update(len(raw).to_bytes(8, "little") + raw)
    return made.digest()
