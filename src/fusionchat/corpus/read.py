"""Reading an entry of a corpus, files or data set, into conversations and counted rejects."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from fusionchat.corpus.conversation import Conversation, Message, Reject, Role
from fusionchat.corpus.files import BrokenLine, hub_records, hub_size, read_records
from fusionchat.corpus.located import Located, locate
from fusionchat.corpus.record import Check, Parsed, parse_record
from fusionchat.corpus.selection import OVER, Selection
from fusionchat.corpus.settings import CorpusFile
from fusionchat.corpus.turns import printable
from fusionchat.errors import CorpusError

STREAMED_FOR_A_SAMPLE = 10_000
"""The most records of a hub data set that are read for a sample if its filter passes few."""
SHOWN_REASONS = 8


class ReadCorpus(NamedTuple):
    """Conversations in file order, the records that could not be used, and what was not read.

    Attributes:
        conversations: In file order.
        rejects: Records that could not be used.
        unused: How many of the conversations have a key that nothing reads, by key.
        notes: How many of the conversations were changed, by what was done.
        left: How many records the entry's own settings leave out, by reason; None if the number is unknown.
    """

    conversations: list[Conversation]
    rejects: list[Reject]
    unused: dict[str, int]
    notes: Mapping[str, int] = {}
    left: Mapping[str, int | None] = {}


def read_corpus(
    source: CorpusFile | str, folder: str = ".", *, sample: int | None = None, check: Check | None = None
) -> ReadCorpus:
    """The conversations of one entry of a corpus, without drawing its share.

    Args:
        source: The entry of a recipe, or its path alone.
        folder: The recipe's folder.
        sample: Read at most this many records, and do not count later ones.
        check: Checks the turns of a record; by default it must be possible to train on them.

    Raises:
        CorpusError: The entry is missing or unreadable, lacks a column that it names, or no record of it can
            be used.
    """
    entry = CorpusFile.model_validate(source)
    found = locate(entry.path, folder, entry.revision)
    limits = [one for one in (sample, entry.limit) if one is not None]
    selection = Selection(entry.filter, min(limits, default=None), entry.names.wanted)
    conversations, rejects, unused = list[Conversation](), list[Reject](), Counter[str]()
    seen: dict[str, Conversation] = {}
    known = {*entry.filter, entry.names.domain_column}
    for number, default_id, record in _records(entry, found, selection, sample):
        parsed = _parse(record, default_id, entry, check)
        one = parsed.found
        if isinstance(one, Conversation):
            one = with_own_id(one, seen, number)
        if isinstance(one, Reject):
            rejects.append(one)
        else:
            seen[one.id] = one
            conversations.append(one)
            unused.update(key for key in parsed.unused if key not in known)
    try:
        selection.check()
    except CorpusError as error:
        raise CorpusError(error.what, where=found.path, do=error.do) from None
    if not conversations:
        raise CorpusError(
            f"No record of this corpus can be used ({_reasons(rejects)})",
            where=found.path,
            do="use records like {'messages': [{'role': 'user', 'content': ...}, {'role': 'assistant', ...}]}, "
            "or name the columns of the turns with `columns`",
        )
    left = _left(entry, found, selection)
    if sample is not None:
        left.pop(OVER, None)
    return ReadCorpus(conversations, rejects, dict(sorted(unused.items())), left=left)


def _records(
    entry: CorpusFile, found: Located, selection: Selection, sample: int | None
) -> Iterator[tuple[int, str, object]]:
    """The records that are read, each with its number and an id; only what is needed is streamed."""
    sources = [(file.name, read_file(entry, file)) for file in found.files]
    if found.hub is not None:
        sources = [(Path(found.path).name, hub_records(found.hub, entry.split, entry.subset))]
    for name, records in sources:
        stem = name.split(".")[0]
        for number, record in enumerate(records):
            if selection.takes(record):
                yield number, f"{stem}-{number:06d}", record
            streamed = found.hub is not None
            if selection.full and (streamed or (sample is not None and not selection.unseen)):
                return
            if sample is not None and streamed and selection.looked >= STREAMED_FOR_A_SAMPLE:
                return


def read_file(entry: CorpusFile, file: Path) -> Iterator[object]:
    """The records of one file of an entry."""
    return read_records(file, text=entry.format == "text", split=entry.split, pattern=entry.pattern)


def _left(entry: CorpusFile, found: Located, selection: Selection) -> dict[str, int | None]:
    """How many records the selection left out, by reason.

    A data set on the hub is not read beyond the limit: its page says how many records it has.
    """
    left: dict[str, int | None] = dict(selection.left)
    if found.hub is not None and entry.limit is not None and selection.taken == entry.limit:
        size = hub_size(found.hub, entry.split, entry.subset)
        left[OVER] = None if size is None else size - selection.looked
    return {reason: count for reason, count in left.items() if count != 0}


def with_own_id(
    conversation: Conversation, seen: Mapping[str, Conversation], number: int
) -> Conversation | Reject:
    """The conversation under a unique id; a reject if it equals the one with its id."""
    same = seen.get(conversation.id)
    if same is None:
        return conversation
    if same == conversation:
        return Reject(conversation.id, "appears twice with the same id")
    return with_own_id(replace(conversation, id=f"{conversation.id}-{number:06d}"), seen, number)


def _parse(record: object, default_id: str, entry: CorpusFile, check: Check | None) -> Parsed:
    if isinstance(record, BrokenLine):
        return Parsed(Reject(default_id, "not JSON", printable(record[:80])))
    return parse_record(record, default_id=default_id, format=entry.format, names=entry.names, check=check)


def _reasons(rejects: list[Reject]) -> str:
    """The reasons of rejects, each with the detail of its first one."""
    first = {reject.reason: reject.detail for reject in reversed(rejects)}
    said = [f"{reason}: {first[reason]}" if first[reason] else reason for reason in sorted(first)]
    more = [f"and {len(said) - SHOWN_REASONS} more reasons"] if len(said) > SHOWN_REASONS else []
    return "; ".join(said[:SHOWN_REASONS] + more) or "it is empty"


class MessageRecord(TypedDict):
    """A message as the corpus stage writes it; switches are written only if they are false."""

    role: Role
    content: str
    complete: NotRequired[bool]
    train: NotRequired[bool]


class ConversationRecord(TypedDict):
    """A conversation as the corpus stage writes it."""

    id: str
    domain: str
    answer: NotRequired[str]
    messages: list[MessageRecord]


def to_record(conversation: Conversation) -> ConversationRecord:
    """A conversation as one JSON record; `from_record` reads it back unchanged."""
    messages: list[MessageRecord] = []
    for m in conversation.messages:
        written = MessageRecord(role=m.role, content=m.content)
        if not m.complete:
            written["complete"] = False
        if not m.train:
            written["train"] = False
        messages.append(written)
    if conversation.answer is None:
        return {"id": conversation.id, "domain": conversation.domain, "messages": messages}
    return {
        "id": conversation.id,
        "domain": conversation.domain,
        "answer": conversation.answer,
        "messages": messages,
    }


def from_record(record: ConversationRecord) -> Conversation:
    """A conversation from a record that `to_record` wrote."""
    messages = tuple(
        Message(m["role"], m["content"], m.get("complete", True), m.get("train", True))
        for m in record["messages"]
    )
    return Conversation(record["id"], messages, record["domain"], record.get("answer"))
