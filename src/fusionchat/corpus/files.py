"""Records of a corpus file or a hub dataset, in order and as stored, whatever they mean."""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from fusionchat.errors import CorpusError
from fusionchat.hub import COMMIT, Place, hub_commit

GZIP = b"\x1f\x8b"
POINTER = b"version https://git-lfs"
OTHER_FORMATS = frozenset(
    [
        ".csv",
        ".tsv",
        ".xlsx",
        ".xls",
        ".arrow",
        ".feather",
        ".orc",
        ".avro",
        ".pkl",
        ".npz",
        ".zst",
        ".bz2",
        ".xz",
        ".zip",
        ".tar",
        ".tgz",
        ".7z",
    ]
)
WRAPPERS = ("data", "rows", "records", "examples", "instances", "items", "conversations", "dialogues")


class BrokenLine(str):
    """A line that is not JSON; it is counted as a reject, since other lines are valid."""

    __slots__ = ()


def read_records(file: Path, *, text: bool, split: str, pattern: str) -> Iterator[object]:
    """The records of a file, by its ending.

    Args:
        file: The file.
        text: Whether to read the file as plain text, whatever its ending.
        split: The key of the records in a JSON object.
        pattern: A regular expression; its group 1 is the text of a conversation.

    Raises:
        CorpusError: The file is missing, or is not what its ending says.
    """
    path = str(file)
    if not file.is_file():
        raise CorpusError("This is not a file", where=path)
    with file.open("rb") as opened:
        if opened.read(len(POINTER)) == POINTER:
            raise CorpusError(
                "This file is a Git LFS pointer, not the corpus",
                where=path,
                do="fetch it: git lfs pull, or download it again",
            )
    suffix = ([""] + [s.lower() for s in file.suffixes if s.lower() != ".gz"])[-1]
    try:
        if text or suffix == ".txt":
            yield from plain_texts(read_text(file), pattern)
        elif suffix == ".parquet":
            yield from parquet_rows(file)
        elif suffix in OTHER_FORMATS:
            raise CorpusError(
                f"Files ending in {suffix} are not supported",
                where=path,
                do="save it as JSONL (or .jsonl.gz) or Parquet",
            )
        else:
            yield from json_records(read_text(file), path, lines=suffix != ".json", split=split)
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"This corpus cannot be read: {error}", where=path) from error


def read_text(file: Path) -> str:
    """A file's text: unpacked if it is gzip, decoded as UTF-8, -16 or -32, as its first bytes show."""
    raw = file.read_bytes()
    if raw.startswith(GZIP):
        raw = gzip.decompress(raw)
    encoding = json.detect_encoding(raw)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"This corpus cannot be read: it is not {encoding.upper().removesuffix('-SIG')} text",
            where=f"{file}, line {line}",
            do="save it as UTF-8",
        ) from error


def plain_texts(text: str, pattern: str) -> Iterator[object]:
    """One conversation of one assistant turn for every match of a pattern."""
    for match in re.finditer(pattern, text.replace("\r\n", "\n").replace("\r", "\n")):
        if (match[1] or "").strip():
            yield {"messages": [{"role": "assistant", "content": match[1].strip()}]}


def json_records(text: str, path: str, *, lines: bool, split: str) -> Iterable[object]:
    """The records of a JSON file, or of one with a record a line.

    The ending decides only where the text is ambiguous: a list in a .jsonl file and lines in a .json file are
    read.
    """
    text = text.removeprefix("\ufeff")  # a second byte order mark, of a text that was encoded twice
    if not lines or text.lstrip().startswith("["):
        try:
            return listed(json.loads(text), path, split)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 1)
            broken = CorpusError(
                f"This file is not JSON: {error}",
                where=path,
                do=f"correct line {line}; a comma after the last element is not JSON",
            )
    else:
        broken = None
    if starts_with_a_line_of_json(text):
        return json_lines(text)
    values = json_values(text)
    if values is None and broken is not None:
        raise broken
    return json_lines(text) if values is None else values


def json_values(text: str) -> list[object] | None:
    """Consecutive JSON values, each over several lines; None if the text is something else."""
    decoder, values, at = json.JSONDecoder(), list[object](), 0
    text = text.strip()
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        values.append(value)
        while text[at : at + 1].isspace():
            at += 1
    return values


def starts_with_a_line_of_json(text: str) -> bool:
    """Whether the first line that is not empty is a JSON object or list by itself."""
    first = text.lstrip().partition("\n")[0].strip()
    try:
        return isinstance(json.loads(first), dict | list)
    except (ValueError, RecursionError):
        return False


def json_lines(text: str) -> Iterator[object]:
    """One record per line, without empty lines and the byte order marks of concatenated files."""
    for line in text.split("\n"):
        bare = line.strip().removeprefix("\ufeff")
        if bare:
            try:
                yield json.loads(bare)
            except (ValueError, RecursionError):  # a number of thousands of digits is a ValueError
                yield BrokenLine(bare)


def listed(value: object, path: str, split: str) -> list[object]:
    """The records of a JSON value: a list of them, an object around such a list, or one record."""
    if isinstance(value, list):
        return [value] if value and is_turn(value[0]) else value
    if isinstance(value, dict):
        for key in (*WRAPPERS, split):
            inner = value.get(key)
            if isinstance(inner, list) and all(
                isinstance(one, dict | list) and not is_turn(one) for one in inner
            ):
                return cast(list[object], inner)
        if any(isinstance(cell, str | list) for cell in value.values()):
            return [value]
    raise CorpusError(
        "A JSON corpus must be a list of records",
        where=path,
        do=f"write a list, or put it under the key {WRAPPERS[0]!r}",
    )


def is_turn(value: object) -> bool:
    """Whether a list's element is a turn, so that the list is one conversation."""
    return isinstance(value, dict) and ("role" in value or "from" in value) and "messages" not in value


def parquet_rows(file: Path) -> Iterator[object]:
    """The rows of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise CorpusError(f"This is not a Parquet file: {error}", where=str(file)) from error


def hub_records(place: Place, split: str, subset: str | None) -> Iterator[object]:
    """The records of a hub dataset, streamed, at the commit that `hub_commit` returns."""
    try:
        import datasets
    except ImportError as error:
        raise CorpusError(
            "There is no such file, and reading hub datasets needs the package `datasets`",
            where=place.name,
            do="pip install 'fusionchat[datasets]', or use a file",
        ) from error
    try:
        dataset = cast(
            Iterable[object],
            datasets.load_dataset(place.name, subset, split=split, revision=pinned(place), streaming=True),
        )
        yield from dataset
    except CorpusError:
        raise
    except Exception as error:
        raise CorpusError(
            f"This dataset cannot be read: {error}", where=place.name, do="check its id, subset and split"
        ) from error


def hub_size(place: Place, split: str, subset: str | None) -> int | None:
    """The number of records of a hub dataset according to its page; None if it does not say."""
    try:
        import datasets

        builder = datasets.load_dataset_builder(place.name, subset, revision=pinned(place))
        return int(builder.info.splits[split].num_examples)
    except Exception:  # the count is only for the report, and many types are raised
        return None


def pinned(place: Place) -> str | None:
    """The commit of a hub dataset, or the given revision if the commit is unknown."""
    commit = hub_commit(place)
    return commit if COMMIT.fullmatch(commit) else place.revision
