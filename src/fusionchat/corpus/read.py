"""Reading a corpus: JSONL, JSON, Parquet, plain text or a hub dataset into conversations and counted rejects."""

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from fusionchat.corpus.conversation import PARAGRAPH, Conversation, Message, Reject, Role
from fusionchat.errors import CorpusError

Format = Literal["auto", "messages", "sharegpt", "text"]

ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}


class ReadCorpus(NamedTuple):
    """Conversations in file order, and every record that could not be used."""

    conversations: list[Conversation]
    rejects: list[Reject]


def read_corpus(
    path: str,
    *,
    format: Format = "auto",
    split: str = "train",
    pattern: str = PARAGRAPH,
    limit: int | None = None,
) -> ReadCorpus:
    """Read a corpus.

    Args:
        path: A file (.jsonl, .json, either with .gz; .parquet; .txt) or the id of a hub dataset.
        format: ``messages`` (role, content), ``sharegpt`` (conversations: from, value), ``text`` (plain text,
            one conversation with one assistant turn a match of ``pattern``), or ``auto``: by the file's ending and keys.
        split: The split of a hub dataset.
        pattern: A regular expression; its group 1 is the text of a conversation.
        limit: Read at most so many records.

    Raises:
        CorpusError: The file is missing or unreadable, or no record of it can be used.
    """
    stem = Path(path).name.split(".")[0]
    conversations: list[Conversation] = []
    rejects: list[Reject] = []
    seen: set[str] = set()
    for number, record in enumerate(_records(path, format, split, pattern)):
        if limit is not None and number >= limit:
            break
        parsed = parse_record(record, default_id=f"{stem}-{number:06d}", format=format)
        if isinstance(parsed, Conversation) and parsed.id in seen:
            parsed = Reject(parsed.id, "id given twice")
        if isinstance(parsed, Reject):
            rejects.append(parsed)
        else:
            seen.add(parsed.id)
            conversations.append(parsed)
    if not conversations:
        reasons = ", ".join(sorted({reject.reason for reject in rejects})) or "it is empty"
        raise CorpusError(
            f"No record of this corpus can be used ({reasons})",
            where=path,
            do="give records like {'messages': [{'role': 'user', 'content': ...}, {'role': 'assistant', ...}]}",
        )
    return ReadCorpus(conversations, rejects)


def parse_record(record: object, *, default_id: str, format: Format = "auto") -> Conversation | Reject:
    """One record as a conversation, or why it cannot be one."""
    if not isinstance(record, dict):
        return Reject(default_id, "not a JSON object", str(record)[:80].encode(errors="replace").decode())
    identifier = str(record["id"]) if record.get("id") is not None else default_id
    domain, answer = str(record.get("domain") or ""), record.get("answer")
    answer = None if answer is None else str(answer)
    if not _encodable(identifier + domain + (answer or "")):
        return Reject(default_id, "not valid Unicode")
    if "messages" in record and format != "sharegpt":
        turns, role_key, text_key = record["messages"], "role", "content"
    elif "conversations" in record and format in ("auto", "sharegpt"):
        turns, role_key, text_key = record["conversations"], "from", "value"
    else:
        return Reject(identifier, "no messages")
    messages = _messages(turns, role_key, text_key)
    if isinstance(messages, str):
        return Reject(identifier, messages)
    problem = _unusable(messages)
    if problem:
        return Reject(identifier, problem)
    asks = any(m.role == "user" for m in messages)
    return Conversation(identifier, messages, domain, answer if asks else None)


def _encodable(text: str) -> bool:
    """Whether a text can be written as UTF-8: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _messages(turns: object, role_key: str, text_key: str) -> tuple[Message, ...] | str:
    if not isinstance(turns, list) or not turns:
        return "empty"
    messages = []
    for turn in turns:
        if not isinstance(turn, dict) or not isinstance(turn.get(text_key), str):
            return "a turn without text"
        role = ROLES.get(str(turn.get(role_key)))
        if role is None:
            return "wrong role"
        if not _encodable(turn[text_key]):
            return "not valid Unicode"
        messages.append(Message(role, turn[text_key]))
    return tuple(messages)


def _unusable(messages: tuple[Message, ...]) -> str | None:
    """Why messages cannot be trained on; trailing turns without an answer are no obstacle."""
    if not any(m.role == "assistant" for m in messages):
        return "no assistant turn"
    if not any(m.content for m in messages if m.role == "assistant"):
        return "empty"
    if any(m.role == "system" for m in messages[1:]):
        return "system turn inside"
    roles = [m.role for m in messages if m.role != "system"]
    if any(a == b for a, b in pairwise(roles)):
        return "roles do not alternate"
    return None


def _records(path: str, format: Format, split: str, pattern: str) -> Iterator[object]:
    file = Path(path)
    if not file.exists():
        yield from _hub_records(path, split)
        return
    if not file.is_file():
        raise CorpusError("A corpus is a file, this is a folder", where=path)
    suffixes = [s for s in file.suffixes if s != ".gz"]
    try:
        if format == "text" or suffixes[-1:] == [".txt"]:
            yield from _plain(_text(file), pattern)
        elif suffixes[-1:] == [".parquet"]:
            yield from _parquet(file)
        elif suffixes[-1:] == [".json"]:
            yield from _json(_text(file), path)
        else:
            yield from _json_lines(_text(file))
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise CorpusError(f"This corpus cannot be read: {error}", where=path) from error


def _text(file: Path) -> str:
    if file.suffix == ".gz":
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            return stream.read()
    return file.read_text(encoding="utf-8")


def _plain(text: str, pattern: str) -> Iterator[object]:
    for match in re.finditer(pattern, text):
        if (match[1] or "").strip():
            yield {"messages": [{"role": "assistant", "content": match[1].strip()}]}


def _json(text: str, path: str) -> Iterable[object]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"This file is not JSON: {error}", where=path, do="one record a line is .jsonl"
        ) from error
    if not isinstance(value, list):
        raise CorpusError("A JSON corpus is a list of records", where=path)
    return value


def _json_lines(text: str) -> Iterator[object]:
    for line in text.split("\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                yield line  # counted as "not a JSON object"


def _parquet(file: Path) -> Iterator[object]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise CorpusError(f"This is not a Parquet file: {error}", where=str(file)) from error


def _hub_records(name: str, split: str) -> Iterator[object]:
    looks_local = name.startswith((".", "/")) or name.count("/") > 1 or Path(name).suffix != ""
    if looks_local:
        raise CorpusError("There is no such corpus file", where=name, do="paths are relative to the recipe")
    try:
        import datasets
    except ImportError as error:
        raise CorpusError(
            "There is no such file, and reading hub datasets needs the package `datasets`",
            where=name,
            do="pip install 'fusionchat[datasets]', or give a file",
        ) from error
    try:
        dataset = cast(Iterable[dict[str, Any]], datasets.load_dataset(name, split=split, streaming=True))
        yield from dataset
    except CorpusError:
        raise
    except Exception as error:
        raise CorpusError(
            f"This dataset cannot be read: {error}", where=name, do="check its id and split"
        ) from error


def to_record(conversation: Conversation) -> dict[str, object]:
    """A conversation as one JSON record; `from_record` reads it back unchanged."""
    record: dict[str, object] = {"id": conversation.id, "domain": conversation.domain}
    if conversation.answer is not None:
        record["answer"] = conversation.answer
    record["messages"] = [
        {"role": m.role, "content": m.content} | ({} if m.complete else {"complete": False})
        for m in conversation.messages
    ]
    return record


def from_record(record: dict[str, Any]) -> Conversation:
    """A conversation from a record that `to_record` wrote."""
    messages = tuple(Message(m["role"], m["content"], m.get("complete", True)) for m in record["messages"])
    return Conversation(record["id"], messages, record["domain"], record.get("answer"))
