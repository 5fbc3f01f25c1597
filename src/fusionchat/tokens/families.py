"""How a tokenizer spells its pieces: alphabet, space, byte fallback, prefix.

All of it is read from the tokenizer object, never from a name.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from tokenizers import Tokenizer

from fusionchat.errors import TokenizerError
from fusionchat.tokens.spans import Prefix

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")

Part = dict[str, object]
Spell = Callable[[str], bytes | None]
"""The bytes of a piece; None if it represents no bytes."""


@dataclass(frozen=True)
class Family:
    """How the pieces of a tokenizer are spelled.

    Attributes:
        name: For messages and reports.
        spell: The bytes of a piece.
        prefix: Whether a space is put before a stretch of text.
        blank: The character that represents a space in the pieces; None if there is none.
    """

    name: str
    spell: Spell
    prefix: Prefix
    blank: str | None = None


@cache
def byte_alphabet() -> dict[str, int]:
    """The byte of each character of GPT-2's byte-level alphabet.

    Printable bytes are themselves; the others have the characters from 256 on.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


def spell_byte_level(piece: str) -> bytes | None:
    """Bytes of a byte-level piece; a character outside the alphabet is its own UTF-8."""
    alphabet = byte_alphabet()
    try:
        return bytes(alphabet[character] for character in piece)
    except KeyError:
        return piece.encode("utf-8", "surrogatepass")


def parts(component: object) -> Iterator[Part]:
    """The leaves of a normalizer, pre-tokenizer or decoder as plain data, in order."""
    if component is None:
        return
    state: bytes = component.__getstate__()  # type: ignore[assignment]
    yield from leaves(json.loads(state) if state else None)


def leaves(part: Part | None) -> Iterator[Part]:
    """The members of nested sequences, in order."""
    if not part:
        return
    nested = next((part[key] for key in ("normalizers", "pretokenizers", "decoders") if key in part), None)
    if isinstance(nested, list):
        for member in nested:
            yield from leaves(member)
    else:
        yield part


def text_pattern(part: Part) -> str | None:
    """The plain string that a Replace part looks for; None for a regular expression."""
    pattern = part.get("pattern")
    return pattern.get("String") if isinstance(pattern, dict) else None


def find_blank(tokenizer: Tokenizer) -> str | None:
    """The character for a space in the pieces (SentencePiece's U+2581); None if there is none."""
    for part in [*parts(tokenizer.pre_tokenizer), *parts(tokenizer.decoder)]:
        if part["type"] == "Metaspace":
            return str(part.get("replacement", "▁"))
    for part in parts(tokenizer.normalizer):
        if part["type"] == "Replace" and text_pattern(part) == " ":
            return str(part["content"])
    for part in parts(tokenizer.decoder):
        if part["type"] == "Replace" and part.get("content") == " ":
            return text_pattern(part)
    return None


def find_prefix(tokenizer: Tokenizer, blank: str | None) -> Prefix:
    """Whether a space is put before the text: a normalizer always does, a pre-tokenizer if it is missing."""
    for part in parts(tokenizer.normalizer):
        if part["type"] == "Prepend" and part.get("prepend") in (blank, " "):
            return "always"
    for part in parts(tokenizer.pre_tokenizer):
        if part["type"] == "Metaspace":
            scheme = part.get("prepend_scheme", "always" if part.get("add_prefix_space", True) else "never")
            return "none" if scheme == "never" else "if_missing"
        if part["type"] == "ByteLevel" and part.get("add_prefix_space"):
            return "if_missing"
    return "none"


def spell_metaspace(blank: str, *, bytes_too: bool) -> Spell:
    """Bytes of SentencePiece pieces: ``blank`` is a space, ``<0xNN>`` a byte under byte fallback."""

    def spell(piece: str) -> bytes | None:
        found = BYTE_PIECE.fullmatch(piece) if bytes_too else None
        return bytes([int(found[1], 16)]) if found else piece.replace(blank, " ").encode()

    return spell


def spell_word_piece(prefix: str) -> Spell:
    """Bytes of WordPiece pieces: one that begins a word has a leading space, a continuation has none."""

    def spell(piece: str) -> bytes | None:
        if prefix and piece.startswith(prefix) and len(piece) > len(prefix):
            return piece[len(prefix) :].encode()
        return b" " + piece.encode()

    return spell


def family_of(tokenizer: Tokenizer) -> Family:
    """How the pieces of a fast tokenizer are spelled.

    Raises:
        TokenizerError: Its pieces do not determine their bytes.
    """
    model = tokenizer.model
    kind = type(model).__name__
    if getattr(model, "end_of_word_suffix", None):
        raise TokenizerError(
            f"This tokenizer marks the end of words ({model.end_of_word_suffix!r}) and drops the spaces between them, "
            "so its tokens do not determine the bytes of a text",
            do="use a model with a byte-level or SentencePiece tokenizer",
        )
    blank = find_blank(tokenizer)
    prefix = find_prefix(tokenizer, blank)
    byte_level = any(
        part["type"] == "ByteLevel" for part in [*parts(tokenizer.pre_tokenizer), *parts(tokenizer.decoder)]
    )
    if byte_level:
        return Family(f"byte-level {kind}", spell_byte_level, prefix)
    falls_back = bool(getattr(model, "byte_fallback", False)) or any(
        part["type"] == "ByteFallback" for part in parts(tokenizer.decoder)
    )
    if blank is not None:
        return Family(f"SentencePiece {kind}", spell_metaspace(blank, bytes_too=falls_back), prefix, blank)
    if kind == "WordPiece":
        return Family(kind, spell_word_piece(model.continuing_subword_prefix), "if_missing")
    return Family(
        f"plain {kind}", spell_metaspace("▁", bytes_too=falls_back) if falls_back else str.encode, prefix
    )
