"""The entries of one part of a corpus, with every record accounted for.

They are read in order, and their shares are drawn.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.read import ReadCorpus, read_corpus, with_own_id
from fusionchat.corpus.settings import CorpusFile
from fusionchat.corpus.shares import draw
from fusionchat.corpus.thoughts import DROPPED, OPENED, Thinking, with_openings, without_thoughts
from fusionchat.errors import CorpusError

NOT_DRAWN = "not drawn"


class Account(NamedTuple):
    """What became of an entry's records: used, rejected or left out.

    Attributes:
        place: Its path in the recipe: ``train.1``.
        name: Its file, pattern or data set.
        used: Conversations that it contributes to its part.
        rejected: Records that could not be used.
        left: Records that its own settings leave out, by reason; None if the number is unknown.
    """

    place: str
    name: str
    used: int
    rejected: int
    left: Mapping[str, int | None]

    @property
    def records(self) -> int:
        """The number of its records, as far as they were counted."""
        return self.used + self.rejected + sum(count or 0 for count in self.left.values())

    def __str__(self) -> str:
        """The account in words: `train.1 data.jsonl: 90 of 200 records, 110 over the limit`."""
        left = [
            f"{'an unknown number' if count is None else count} {why}" for why, count in self.left.items()
        ]
        left += [f"{self.rejected} rejected"] if self.rejected else []
        return ", ".join([f"{self.place} {self.name}: {self.used} of {self.records} records", *left])


class ReadEntries(NamedTuple):
    """The conversations of a part, as in `ReadCorpus`, and the account of each entry."""

    conversations: list[Conversation]
    rejects: list[Reject]
    unused: dict[str, int]
    notes: dict[str, int]
    accounts: list[Account]


def read_entries(
    part: str, entries: Mapping[str, CorpusFile], folder: str, *, seed: int, thinking: Thinking = "keep"
) -> ReadEntries:
    """All conversations of a part, under unique ids: an id that another entry has gets a number.

    Raises:
        CorpusError: An entry cannot be read or has no usable record; the message names it.
    """
    conversations, rejects, accounts = list[Conversation](), list[Reject](), list[Account]()
    unused, notes = Counter[str](), Counter[str]()
    seen: dict[str, Conversation] = {}
    for place, entry in entries.items():
        read = read_entry(place, entry, folder, thinking=thinking)
        left, drawn = dict(read.left), draw_share(read.conversations, entry.share, seed=seed, part=part)
        if len(drawn) < len(read.conversations):
            left[NOT_DRAWN] = len(read.conversations) - len(drawn)
        taken, again = under_own_ids(place, entry, drawn, seen)
        rejected = [*read.rejects, *again]
        accounts.append(Account(place, Path(entry.path).name, len(taken), len(rejected), left))
        conversations += taken
        rejects += rejected
        unused.update(read.unused)
        notes.update(read.notes)
    return ReadEntries(conversations, rejects, dict(sorted(unused.items())), dict(notes), accounts)


def read_entry(
    place: str,
    entry: CorpusFile,
    folder: str,
    *,
    sample: int | None = None,
    thinking: Thinking = "keep",
) -> ReadCorpus:
    """The conversations of one entry, with or without their thoughts.

    The arguments are those of `read_corpus`.

    Raises:
        CorpusError: As `read_corpus`, with the entry's path in the recipe.
    """
    try:
        read = read_corpus(entry, folder, sample=sample)
    except CorpusError as error:
        raise at(place, error) from error
    return open_thoughts(read) if thinking == "keep" else drop_thoughts(read)


def under_own_ids(
    place: str, entry: CorpusFile, conversations: list[Conversation], seen: dict[str, Conversation]
) -> tuple[list[Conversation], list[Reject]]:
    """An entry's conversations under unique ids, and a reject for each that another entry has given.

    Args:
        place, entry: The entry.
        conversations: Its conversations.
        seen: The conversations of earlier entries, by id; this entry's are added.

    Raises:
        CorpusError: Other entries have given all of them.
    """
    taken, again = list[Conversation](), list[Reject]()
    for number, conversation in enumerate(conversations):
        one = with_own_id(conversation, seen, number)
        if isinstance(one, Reject):
            again.append(one)
        else:
            seen[one.id] = one
            taken.append(one)
    if conversations and not taken:
        raise CorpusError(
            "Earlier entries already have all records of this one, with the same ids",
            where=f"corpus.{place}: {entry.path}",
            do="remove this entry, or the earlier one",
        )
    return taken, again


def at(place: str, error: CorpusError) -> CorpusError:
    """The error with the entry's path in the recipe before the file."""
    return CorpusError(error.what, where=f"corpus.{place}: {error.where}", do=error.do)


def draw_share(
    conversations: list[Conversation], share: float | None, *, seed: int, part: str
) -> list[Conversation]:
    """The share of an entry's conversations that is drawn, in order; at least one of them."""
    if share is None:
        return conversations
    size = max(1, round(len(conversations) * share))
    return [conversations[i] for i in draw(conversations, size, seed=seed, part=f"entry of {part}")]


def open_thoughts(read: ReadCorpus) -> ReadCorpus:
    """The conversations as read, with every thought beginning at its opening tag."""
    opened = [with_openings(conversation) for conversation in read.conversations]
    count = sum(new is not old for new, old in zip(opened, read.conversations, strict=True))
    return read._replace(conversations=opened, notes={OPENED: count} if count else {})


def drop_thoughts(read: ReadCorpus) -> ReadCorpus:
    """The conversations as read, without thoughts; one that has nothing else is a reject."""
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
