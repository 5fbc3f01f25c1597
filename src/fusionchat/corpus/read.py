"""Reading a corpus: JSONL, JSON, Parquet, plain text or a hub dataset into conversations and counted rejects."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from fusionchat.corpus.conversation import PARAGRAPH, Conversation, Message, Reject, Role
from fusionchat.corpus.files import BrokenLine, read_records
from fusionchat.corpus.formats import FormatName
from fusionchat.corpus.record import Parsed, parse_record
from fusionchat.corpus.turns import printable
from fusionchat.errors import CorpusError

SHOWN_REASONS = 8


class ReadCorpus(NamedTuple):
    """Conversations in file order, the records that could not be used, and what was not read of the others.

    Attributes:
        conversations: In file order.
        rejects: Records that could not be used.
        unused: How many of the conversations have a key that nothing reads, by key.
        notes: How many of the conversations were changed, by what was done.
    """

    conversations: list[Conversation]
    rejects: list[Reject]
    unused: dict[str, int]
    notes: Mapping[str, int] = {}


def read_corpus(
    path: str,
    *,
    format: FormatName = "auto",
    split: str = "train",
    pattern: str = PARAGRAPH,
    limit: int | None = None,
    revision: str | None = None,
) -> ReadCorpus:
    """Read a corpus.

    Args:
        path: A file (.jsonl, .json, either with .gz; .parquet; .txt) or the id of a hub dataset.
        format: The name of a format of records (`fusionchat.corpus.formats`), ``text`` (plain text, one conversation with
            one assistant turn a match of ``pattern``), or ``auto``: by the file's ending and each record's keys.
        split: The split of a hub dataset.
        pattern: A regular expression; its group 1 is the text of a conversation.
        limit: Read at most this many records.
        revision: Branch, tag or commit of a hub dataset.

    Raises:
        CorpusError: The file is missing or unreadable, or no record of it can be used.
    """
    stem = Path(path).name.split(".")[0]
    conversations: list[Conversation] = []
    rejects: list[Reject] = []
    unused: Counter[str] = Counter()
    seen: dict[str, Conversation] = {}
    records = read_records(path, text=format == "text", split=split, pattern=pattern, revision=revision)
    for number, record in enumerate(records):
        if limit is not None and number >= limit:
            break
        parsed = _parse(record, f"{stem}-{number:06d}", format)
        found = parsed.found
        if isinstance(found, Conversation):
            found = with_own_id(found, seen, number)
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            seen[found.id] = found
            conversations.append(found)
            unused.update(parsed.unused)
    if not conversations:
        raise CorpusError(
            f"No record of this corpus can be used ({_reasons(rejects)})",
            where=path,
            do="give records like {'messages': [{'role': 'user', 'content': ...}, {'role': 'assistant', ...}]}",
        )
    return ReadCorpus(conversations, rejects, dict(sorted(unused.items())))


def with_own_id(
    conversation: Conversation, seen: Mapping[str, Conversation], number: int
) -> Conversation | Reject:
    """The conversation under an id that no other has; a reject where it is the same as the one with that id."""
    same = seen.get(conversation.id)
    if same is None:
        return conversation
    if same == conversation:
        return Reject(conversation.id, "given twice, with the same id")
    return with_own_id(replace(conversation, id=f"{conversation.id}-{number:06d}"), seen, number)


def _parse(record: object, default_id: str, format: FormatName) -> Parsed:
    if isinstance(record, BrokenLine):
        return Parsed(Reject(default_id, "not JSON", printable(record[:80])))
    return parse_record(record, default_id=default_id, format=format)


def _reasons(rejects: list[Reject]) -> str:
    """The reasons of rejects, each with the detail of its first one."""
    first = {reject.reason: reject.detail for reject in reversed(rejects)}
    said = [f"{reason}: {first[reason]}" if first[reason] else reason for reason in sorted(first)]
    more = [f"and {len(said) - SHOWN_REASONS} more reasons"] if len(said) > SHOWN_REASONS else []
    return "; ".join(said[:SHOWN_REASONS] + more) or "it is empty"


class MessageRecord(TypedDict):
    """A message as the corpus stage writes it; switches are there only where they are false."""

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
