"""Options made of held-out answers: the wrong ones are what other items of the same domain have. PURE."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b

POOL = 64
"""Texts of the nearest lengths, half of which a seed draws; wrong options are the most similar of these."""
LONGEST = 2.0
"""A wrong option has at most this many times the right one's bytes, or the right one of its."""
SAME = 0.8
"""Share of triples of characters from which on two texts say the same: none of them is a wrong option of the other."""

Sized = tuple[int, str]


def size(text: str) -> int:
    """UTF-8 bytes of a text."""
    return len(text.encode())


def shorten(text: str, most: int) -> str:
    """The text up to its last whole word within ``most`` UTF-8 bytes; cut inside the first word where that is longer."""
    raw = text.encode()
    if len(raw) <= most:
        return text
    kept = raw[:most].decode(errors="ignore")
    whole = kept if text[len(kept)].isspace() else re.sub(r"\S+$", "", kept)
    return whole.rstrip() or kept


def divide(text: str, share: float) -> tuple[str, str, str] | None:
    """What is given of a text, the white space after it, and the rest; None for a text without a place to divide it.

    It is divided at the end of the line nearest to the share of its characters, where one is within a quarter of the text,
    else at the nearest space.
    """
    spaces = [m for m in re.finditer(r"\s+", text) if 0 < m.start() and m.end() < len(text)]
    wanted = share * len(text)
    lines = [m for m in spaces if "\n" in m[0] and abs(m.start() - wanted) <= len(text) / 4]
    nearest = min(lines or spaces, key=lambda m: abs(m.start() - wanted), default=None)
    return None if nearest is None else (text[: nearest.start()], nearest[0], text[nearest.end() :])


def wrong_options(texts: Sequence[str], domains: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """For each text ``count`` of its domain's others, no two the same; fewer where the domain has fewer that will do.

    Of the `POOL` texts nearest in length, so that length gives nothing away, the seed draws half; the most similar of
    them are taken, by the share of the triples of characters that they have in common. What differs in white space and
    case alone, or hardly at all (`SAME`), is the same. Neither the order of the texts nor how often one is there counts.
    """
    groups = defaultdict[str, dict[str, str]](dict)
    for text, domain in sorted(zip(texts, domains, strict=True)):
        groups[domain].setdefault(normal(text), text)
    held = {domain: sorted((size(t), t) for t in group.values()) for domain, group in groups.items()}
    return [_most_similar(t, held[d], count, seed) for t, d in zip(texts, domains, strict=True)]


def _most_similar(text: str, held: Sequence[Sized], count: int, seed: int) -> list[str]:
    own, triples = size(text), triples_of(text)
    place = bisect_left(held, (own, text))
    near = sorted(held[max(0, place - POOL) : place + POOL], key=lambda one: (abs(one[0] - own), one[1]))
    alike = [t for length, t in near if max(own, length) <= LONGEST * min(own, length)]
    others = [t for t in alike if normal(t) != normal(text)][:POOL]
    drawn = sorted(others, key=lambda t: key(seed, text, t))[: max(count, (len(others) + 1) // 2)]
    likeness = {t: overlap(triples, triples_of(t)) for t in drawn}
    ranked = sorted(drawn, key=lambda t: (-likeness[t], key(seed, text, t)))
    return [t for t in ranked if likeness[t] < SAME][:count]


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
    options = sorted([right, *wrong], key=lambda text: key(seed, right, text))
    return tuple(options), options.index(right)


def key(seed: int, *texts: str) -> bytes:
    """A hash of texts and a seed that is the same in every process."""
    made = blake2b(str(seed).encode(), digest_size=16)
    for text in texts:
        raw = text.encode()
        made.update(len(raw).to_bytes(8, "little") + raw)
    return made.digest()
