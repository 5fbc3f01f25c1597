"""The three parts of a corpus as read, before any model has looked at them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fusionchat.console import progress
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.files import refuse_path
from fusionchat.corpus.overlap import Index, Talk, exchanges
from fusionchat.corpus.read import ReadCorpus, read_corpus
from fusionchat.corpus.settings import CorpusFile, CorpusSettings
from fusionchat.corpus.shares import draw
from fusionchat.corpus.thoughts import DROPPED, OPENED, Thinking, with_openings, without_thoughts
from fusionchat.errors import CorpusError
from fusionchat.hub import find

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
    """

    parts: Parts
    rejects: list[Reject]
    unused: dict[str, int]
    notes: dict[str, int]


class Item(NamedTuple):
    """A conversation and its exchanges, by which it is compared."""

    conversation: Conversation
    talk: Talk


def read_parts(settings: CorpusSettings, folder: str, *, seed: int) -> ReadParts:
    """Read the three parts and draw those that are shares of train; none of them repeats text of another.

    Test has priority: what repeats its text leaves validation and train, what repeats validation's leaves train.
    Every conversation that leaves is counted, with what it shares and with which part.
    """
    sources = {part: getattr(settings, part) for part in PARTS}
    read = {
        part: read_source(one, folder, thinking=settings.thinking)
        for part, one in sources.items()
        if isinstance(one, CorpusFile)
    }
    rejects = [reject for one in read.values() for reject in one.rejects]
    unused = sum((Counter(one.unused) for one in read.values()), Counter[str]())
    items = {part: make_items(one.conversations) for part, one in read.items()}
    corpus = [item.talk for part in items.values() for item in part]
    whole = len(items["train"])
    for held in ("test", "validation"):
        if held not in items:
            size = max(1, round(whole * sources[held]))
            items[held], items["train"] = hold_out(items["train"], size, seed=seed, part=held)
        index = Index([item.talk for item in items[held]], corpus)
        for part in ("validation", "train") if held == "test" else ("train",):
            if part in items:
                items[part], more = separate(items[part], index, held)
                rejects += more
    for part in PARTS:
        if not items[part]:
            raise CorpusError(
                f"Nothing is left of the {part} part",
                where=f"corpus.{part}",
                do=f"give parts that share no text, or more conversations; not used: {count_words(count_rejects(rejects)) or 0}",
            )
    parts = Parts(*([item.conversation for item in items[part]] for part in PARTS))
    notes = sum((Counter(one.notes) for one in read.values()), Counter[str]())
    return ReadParts(parts, rejects, dict(sorted(unused.items())), dict(notes))


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


def locate(source: CorpusFile, folder: str) -> str:
    """The file a recipe means, or the name itself where it can only be a hub dataset.

    Raises:
        CorpusError: It looks like a file and is not there.
    """
    place = find(source.path, folder, source.revision, kind="datasets")
    if place.path is None:
        refuse_path(place)
    return place.name


def read_source(
    source: CorpusFile, folder: str, *, limit: int | None = None, thinking: Thinking = "keep"
) -> ReadCorpus:
    """The conversations of one entry of a recipe, at most ``limit`` of them, with or without their thoughts."""
    limits = [one for one in (limit, source.limit) if one is not None]
    read = read_corpus(
        locate(source, folder),
        format=source.format,
        split=source.split,
        revision=source.revision,
        pattern=source.pattern,
        limit=min(limits, default=None),
    )
    return open_thoughts(read) if thinking == "keep" else drop_thoughts(read)


def open_thoughts(read: ReadCorpus) -> ReadCorpus:
    """What was read with every thought from its opening tag on."""
    opened = [with_openings(conversation) for conversation in read.conversations]
    count = sum(new is not old for new, old in zip(opened, read.conversations, strict=True))
    return read._replace(conversations=opened, notes={OPENED: count} if count else {})


def drop_thoughts(read: ReadCorpus) -> ReadCorpus:
    """What was read without thoughts; a conversation that has nothing else is a reject."""
    kept: list[Conversation] = []
    rejects, count = list(read.rejects), 0
    for conversation in read.conversations:
        left = without_thoughts(conversation)
        if left is not conversation and not any(m.content for m in left.messages if m.supervised):
            rejects.append(Reject(conversation.id, "nothing but a thought"))
            continue
        count += left is not conversation
        kept.append(left)
    return read._replace(conversations=kept, rejects=rejects, notes={DROPPED: count} if count else {})


def count_rejects(rejects: Sequence[Reject]) -> dict[str, int]:
    """How many rejects have each reason, with the model it is true of."""
    return dict(sorted(Counter(reject.cause for reject in rejects).items()))


def count_words(counts: Mapping[str, int]) -> str:
    """Counts as words, the largest first: `24 score, 3 notes, and 5 more`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{count} {name}" for name, count in ordered[:SHOWN]]
    return ", ".join(said + [f"and {len(ordered) - SHOWN} more"] * (len(ordered) > SHOWN))
