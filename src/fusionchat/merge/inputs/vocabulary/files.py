"""Which row is which token, read from any tokenizer file without building a tokenizer.

``tokenizer.json`` comes first, as in transformers; then SentencePiece's ``*.model``, GPT-2's ``vocab.json``,
BERT's ``vocab.txt``, and tiktoken's lists. Byte tokens are spelled as in ``tokenizer.json`` (GPT-2's
alphabet), so that they can be compared across formats.
"""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.tokens.families import byte_alphabet

TOKENIZER = "tokenizer.json"
_ALPHABET = {byte: character for character, byte in byte_alphabet().items()}


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's tokens.

    Attributes:
        ids: Row of every token.
        added: Entries of the added tokens, by content.
    """

    ids: dict[str, int]
    added: dict[str, dict[str, Json]]

    @property
    def rows(self) -> int:
        """Rows that a model needs for them."""
        return max(self.ids.values(), default=-1) + 1


def vocabulary_file(folder: Path) -> Path | None:
    """The file with a folder's tokens; None if there is no tokenizer."""
    for pattern in _READERS:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if found:
            return found[0]
    return None


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The tokens of a folder's tokenizer; None if it has none.

    Raises:
        MergeError: Its file cannot be read.
    """
    path = vocabulary_file(folder)
    if path is None:
        return None
    read = next(reader for pattern, reader in _READERS.items() if path.match(pattern))
    try:
        vocabulary = read(path)
        if path.name == TOKENIZER:
            return vocabulary
        beside = _added_beside(folder)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise MergeError(
            f"This tokenizer is damaged, or of a kind that cannot be read: {error}",
            where=str(path),
            do=f"save it as {TOKENIZER} (AutoTokenizer.from_pretrained(...).save_pretrained)",
        ) from error
    ids = {text: int(str(entry["id"])) for text, entry in beside.items()}
    return Vocabulary({**vocabulary.ids, **ids}, {**vocabulary.added, **beside})


def first_difference(pivot: Vocabulary, target: Vocabulary) -> tuple[str, int, int | None] | None:
    """A target's first token (by row) that the pivot has elsewhere or not at all: text, row, pivot's row.

    None if there is none; tokens that only the pivot has do not count.
    """
    others = [(row, text) for text, row in target.ids.items() if pivot.ids.get(text) != row]
    if not others:
        return None
    row, text = min(others)
    return text, row, pivot.ids.get(text)


def same_tokenizer(one: Path, two: Path) -> bool:
    """Whether the tokenizer files of two folders are equal, byte by byte."""
    mine, theirs = vocabulary_file(one), vocabulary_file(two)
    if mine is None or theirs is None or mine.name != theirs.name or not _same_file(mine, theirs):
        return False
    return mine.name == TOKENIZER or _added_beside(one) == _added_beside(two)


def _same_file(one: Path, two: Path) -> bool:
    return one.stat().st_size == two.stat().st_size and one.read_bytes() == two.read_bytes()


def _tokenizer_json(path: Path) -> Vocabulary:
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    held = tokenizer["model"]["vocab"]
    entries = {str(entry["content"]): entry for entry in tokenizer.get("added_tokens") or []}
    ids = dict(held) if isinstance(held, dict) else {piece[0]: n for n, piece in enumerate(held)}
    return Vocabulary({**ids, **{text: int(entry["id"]) for text, entry in entries.items()}}, entries)


def _vocab_json(path: Path) -> Vocabulary:
    return Vocabulary({str(k): int(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}, {})


def _vocab_txt(path: Path) -> Vocabulary:
    return Vocabulary({line: n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines())}, {})


def _model(path: Path) -> Vocabulary:
    """The tokens in SentencePiece's file: the first field of every message in field 1.

    Llama 3's file of that name is tiktoken's list.
    """
    raw = path.read_bytes()
    if raw[:1] != b"\n":
        return _tiktoken(path)
    pieces = [
        bytes(next(v for f, v in _fields(part) if f == 1)) for field, part in _fields(raw) if field == 1
    ]
    return Vocabulary({piece.decode("utf-8"): n for n, piece in enumerate(pieces)}, {})


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protocol buffer's message that have a length; others are skipped."""
    at = 0
    while at < len(raw):
        key, at = _number(raw, at)
        kind = key & 7
        if kind == 2:
            size, at = _number(raw, at)
            if at + size > len(raw):
                raise ValueError("it is cut short")
            yield key >> 3, raw[at : at + size]
        elif kind == 0:
            size, at = 0, _number(raw, at)[1]
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("it is not a SentencePiece model")
        at += size


def _number(raw: bytes, at: int) -> tuple[int, int]:
    """A number with seven bits per byte, and where it ends."""
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _tiktoken(path: Path) -> Vocabulary:
    lines = [line.split() for line in path.read_bytes().splitlines() if line.strip()]
    return Vocabulary({_spelled(base64.b64decode(text, validate=True)): int(row) for text, row in lines}, {})


def _tekken(path: Path) -> Vocabulary:
    """The tokens in Mistral's list: the config's number of control tokens comes first."""
    held = json.loads(path.read_text(encoding="utf-8"))
    first = int(held["config"]["default_num_special_tokens"])
    count = int(held["config"]["default_vocab_size"]) - first
    ids = {
        _spelled(base64.b64decode(one["token_bytes"])): first + int(one["rank"])
        for one in held["vocab"][:count]
    }
    special = held.get("special_tokens") or []
    return Vocabulary({**ids, **{str(one["token_str"]): int(one["rank"]) for one in special}}, {})


def _spelled(raw: bytes) -> str:
    """Bytes in GPT-2's alphabet, as ``tokenizer.json`` spells them."""
    return "".join(map(_ALPHABET.__getitem__, raw))


def _added_beside(folder: Path) -> dict[str, dict[str, Json]]:
    """Tokens that ``added_tokens.json`` and ``tokenizer_config.json`` add, by content."""
    found: dict[str, dict[str, Json]] = {}
    listed = _object(folder / "added_tokens.json")
    found |= {str(text): {"id": row, "content": str(text)} for text, row in listed.items()}
    decoder = _object(folder / "tokenizer_config.json").get("added_tokens_decoder")
    for row, entry in (decoder if isinstance(decoder, dict) else {}).items():
        if isinstance(entry, dict):
            found[str(entry["content"])] = {**entry, "id": int(row)}
    return found


def _object(path: Path) -> dict[str, Json]:
    value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def largest_token(folder: Path) -> tuple[str, int] | None:
    """The token with the largest row in a folder's tokenizer files, and that row; None if unreadable."""
    ids: dict[str, int] = {}
    with suppress(MergeError):
        vocabulary = read_vocabulary(folder)
        ids |= vocabulary.ids if vocabulary else {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        ids |= {text: int(str(entry["id"])) for text, entry in _added_beside(folder).items()}
    return max(ids.items(), key=lambda item: item[1], default=None)


_READERS: dict[str, Callable[[Path], Vocabulary]] = {
    TOKENIZER: _tokenizer_json,
    "tokenizer.model": _model,
    "*.model": _model,
    "vocab.json": _vocab_json,
    "vocab.txt": _vocab_txt,
    "tekken.json": _tekken,
    "tokenizer.model.*": _tiktoken,
    "*.tiktoken": _tiktoken,
}
"""Patterns of the files with tokens, and how they are read; the first existing one counts."""
