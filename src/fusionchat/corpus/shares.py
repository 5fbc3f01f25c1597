"""Drawing a share of a corpus: by seed, and by domain where records have one."""

from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b

from fusionchat.corpus.conversation import Conversation


def draw(conversations: Sequence[Conversation], size: int, *, seed: int, part: str) -> list[int]:
    """Positions of ``size`` conversations, in order, every domain with its share of them.

    The draw depends on the conversations, the seed and the part's name, not on the order of the file.
    Repeated conversations are drawn again only after all others.
    """
    domains = defaultdict[str, list[int]](list)
    for i, conversation in enumerate(conversations):
        domains[conversation.domain].append(i)
    sizes = apportion({name: len(found) for name, found in domains.items()}, size, f"{seed} {part}")
    drawn = []
    for name, found in domains.items():
        drawn += shuffled([conversations[i] for i in found], found, f"{seed} {part}")[: sizes[name]]
    return sorted(drawn)


def apportion(counts: dict[str, int], size: int, salt: str) -> dict[str, int]:
    """How many of ``size`` each domain gets: its share rounded down, the rest by largest remainder.

    Ties are broken by a hash of the name, so that the alphabet has no influence.
    """
    total = sum(counts.values())
    size = min(size, total)
    quotas = {name: size * count // total for name, count in counts.items()}
    order = sorted(counts, key=lambda name: (-(size * counts[name] % total), digest(salt, name)))
    for name in order[: size - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def shuffled(conversations: Sequence[Conversation], positions: Sequence[int], salt: str) -> list[int]:
    """The positions in an order that depends only on the conversations' texts, repeated texts last."""
    keys = [digest(salt, *(part for m in c.messages for part in (m.role, m.content))) for c in conversations]
    seen = defaultdict[bytes, int](int)
    ranked = []
    for key, position in zip(keys, positions, strict=True):
        ranked.append((seen[key], key, position))
        seen[key] += 1
    return [position for _, _, position in sorted(ranked)]


def digest(*texts: str) -> bytes:
    """A hash of texts that is the same in every process."""
    made = blake2b(digest_size=16)
    for text in texts:
        raw = text.encode()
        made.update(len(raw).to_bytes(8, "little") + raw)
    return made.digest()
