"""The three parts of a corpus as read, before any template is applied."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fusionchat.console import progress
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.entries import Account, read_entries
from fusionchat.corpus.overlap import Index, Talk, exchanges
from fusionchat.corpus.settings import CorpusSettings
from fusionchat.corpus.shares import draw
from fusionchat.errors import CorpusError

PARTS = ("train", "validation", "test")
SHOWN = 12


class Parts(NamedTuple):
    """The conversations of each part."""

    train: list[Conversation]
    validation: list[Conversation]
    test: list[Conversation]


class ReadParts(NamedTuple):
    """The parts of a corpus, and what was left out.

    Attributes:
        parts: The conversations.
        rejects: Records that could not be used.
        unused: How many records have a key that nothing reads, by key.
        notes: How many conversations were changed, by what was done.
        accounts: The account of each entry.
    """

    parts: Parts
    rejects: list[Reject]
    unused: dict[str, int]
    notes: dict[str, int]
    accounts: list[Account]


class Item(NamedTuple):
    """A conversation and its exchanges, for comparison."""

    conversation: Conversation
    talk: Talk


def read_parts(settings: CorpusSettings, folder: str, *, seed: int) -> ReadParts:
    """The three parts, where shares of train are drawn and no part repeats text of another.

    Test has priority: conversations that repeat its text are removed from validation and train, and those
    that repeat validation's from train. Each of them is counted, with what it shares and with which part.
    """
    entries = {part: settings.entries(part) for part in PARTS}
    read = {
        part: read_entries(part, given, folder, seed=seed, thinking=settings.thinking)
        for part, given in entries.items()
        if given
    }
    accounts = [account for one in read.values() for account in one.accounts]
    rejects = [reject for one in read.values() for reject in one.rejects]
    unused = sum((Counter(one.unused) for one in read.values()), Counter[str]())
    items = {part: make_items(one.conversations) for part, one in read.items()}
    corpus = [item.talk for part in items.values() for item in part]
    whole = len(items["train"])
    for held in ("test", "validation"):
        if held not in items:
            size = max(1, round(whole * getattr(settings, held)))
            items[held], items["train"] = hold_out(items["train"], size, seed=seed, part=held)
        index = Index([item.talk for item in items[held]], corpus)
        for part in ("validation", "train") if held == "test" else ("train",):
            if part in items:
                items[part], more = separate(items[part], index, held)
                rejects += more
    for part in PARTS:
        if not items[part]:
            raise CorpusError(
                f"The {part} part is empty",
                where=f"corpus.{part}",
                do=f"use parts that share no text, or more conversations; not used: {count_words(count_rejects(rejects)) or 0}",
            )
    parts = Parts(*([item.conversation for item in items[part]] for part in PARTS))
    notes = sum((Counter(one.notes) for one in read.values()), Counter[str]())
    return ReadParts(parts, rejects, dict(sorted(unused.items())), dict(notes), accounts)


def make_items(conversations: Sequence[Conversation]) -> list[Item]:
    """Conversations with their exchanges."""
    items = []
    with progress("compare the parts", len(conversations)) as advance:
        for conversation in conversations:
            items.append(Item(conversation, exchanges(conversation)))
            advance(1)
    return items


def hold_out(items: Sequence[Item], size: int, *, seed: int, part: str) -> tuple[list[Item], list[Item]]:
    """The items drawn for a part, and the rest, both in order."""
    drawn = set(draw([item.conversation for item in items], size, seed=seed, part=part))
    return (
        [item for i, item in enumerate(items) if i in drawn],
        [item for i, item in enumerate(items) if i not in drawn],
    )


def separate(items: Sequence[Item], index: Index, held: str) -> tuple[list[Item], list[Reject]]:
    """The items that share nothing with a held-out part, and a reject for each of the others."""
    kept, rejects = [], []
    for item in items:
        found = index.shares(item.talk)
        if found is None:
            kept.append(item)
        else:
            rejects.append(Reject(item.conversation.id, f"{found} with the {held} part"))
    return kept, rejects


def count_rejects(rejects: Sequence[Reject]) -> dict[str, int]:
    """How many rejects have each reason, with the model that it concerns."""
    return dict(sorted(Counter(reject.cause for reject in rejects).items()))


def count_words(counts: Mapping[str, int]) -> str:
    """Counts as words, the largest first: `24 score, 3 notes, and 5 more`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{count} {name}" for name, count in ordered[:SHOWN]]
    return ", ".join(said + [f"and {len(ordered) - SHOWN} more"] * (len(ordered) > SHOWN))
