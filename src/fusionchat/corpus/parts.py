"""The three parts of a corpus as read, before any model has looked at them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.overlap import near_duplicates
from fusionchat.corpus.read import ReadCorpus, read_corpus
from fusionchat.corpus.thoughts import Thinking, without_thoughts
from fusionchat.errors import CorpusError
from fusionchat.recipe import CorpusFile, CorpusSettings

PARTS = ("train", "validation", "test")
SHOWN = 12


class Parts(NamedTuple):
    """The conversations of each part."""

    train: list[Conversation]
    validation: list[Conversation]
    test: list[Conversation]


class ReadParts(NamedTuple):
    """The parts, the records that could not be used, and how many records have a key that nothing reads, by key.

    ``thoughts`` is the number of conversations whose thoughts were removed.
    """

    parts: Parts
    rejects: list[Reject]
    unused: dict[str, int]
    thoughts: int


def read_parts(settings: CorpusSettings, folder: str) -> ReadParts:
    """Read the three parts; shares are taken from the end of train, near-duplicates of them leave it, counted."""
    train, rejects, unused, thoughts = read_source(settings.train, folder, thinking=settings.thinking)
    counted = Counter(unused)
    held: dict[str, list[Conversation]] = {}
    for name in ("test", "validation"):
        source = getattr(settings, name)
        if isinstance(source, CorpusFile):
            held[name], more, keys, dropped = read_source(source, folder, thinking=settings.thinking)
            thoughts += dropped
            rejects += more
            counted.update(keys)
        else:
            size = max(1, round(len(train) * source))
            train, held[name] = train[:-size], train[-size:]
    flags = near_duplicates(train, held["test"] + held["validation"])
    rejects += [
        Reject(c.id, "near-duplicate of a held-out one") for c, f in zip(train, flags, strict=True) if f
    ]
    train = [c for c, flag in zip(train, flags, strict=True) if not flag]
    if not train:
        raise CorpusError(
            "Nothing is left to train on", where="corpus.train", do=f"reasons: {count_rejects(rejects)}"
        )
    return ReadParts(
        Parts(train, held["validation"], held["test"]), rejects, dict(sorted(counted.items())), thoughts
    )


def locate(source: CorpusFile, folder: str) -> str:
    """The file a recipe means, or the name itself where it can only be a hub dataset.

    Raises:
        CorpusError: It looks like a file and is not there.
    """
    for candidate in (Path(folder) / source.path, Path(source.path)):
        if candidate.exists():
            return str(candidate)
    if source.path.startswith((".", "/")) or source.path.count("/") > 1 or Path(source.path).suffix:
        raise CorpusError(
            "There is no such corpus file", where=source.path, do="paths are relative to the recipe"
        )
    return source.path


def read_source(
    source: CorpusFile, folder: str, *, limit: int | None = None, thinking: Thinking = "keep"
) -> ReadCorpus:
    """The conversations of one entry of a recipe, at most ``limit`` of them, with or without their thoughts."""
    limits = [one for one in (limit, source.limit) if one is not None]
    read = read_corpus(
        locate(source, folder),
        format=source.format,
        split=source.split,
        pattern=source.pattern,
        limit=min(limits, default=None),
    )
    return read if thinking == "keep" else drop_thoughts(read)


def drop_thoughts(read: ReadCorpus) -> ReadCorpus:
    """What was read without thoughts; a conversation that has nothing else is a reject."""
    kept: list[Conversation] = []
    rejects, count = list(read.rejects), 0
    for conversation in read.conversations:
        left = without_thoughts(conversation)
        if left is not conversation and not any(m.content for m in left.messages if m.role == "assistant"):
            rejects.append(Reject(conversation.id, "nothing but a thought"))
            continue
        count += left is not conversation
        kept.append(left)
    return read._replace(conversations=kept, rejects=rejects, thoughts=count)


def count_rejects(rejects: Sequence[Reject]) -> dict[str, int]:
    """How many rejects have each reason, with the model it is true of."""
    return dict(sorted(Counter(reject.cause for reject in rejects).items()))


def count_words(counts: Mapping[str, int]) -> str:
    """Counts as words, the largest first: `24 score, 3 notes, and 5 more`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{count} {name}" for name, count in ordered[:SHOWN]]
    return ", ".join(said + [f"and {len(ordered) - SHOWN} more"] * (len(ordered) > SHOWN))
