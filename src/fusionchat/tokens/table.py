"""`TokenTable`: token id -> bytes, for any tokenizer, derived from the tokenizer object."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusionchat.errors import TokenizerError
from fusionchat.tokens.families import BYTE_PIECE, Family, family_of
from fusionchat.tokens.spans import ADDED, FALLBACK, LSTRIP, RSTRIP, UNKNOWN, ByteTable, Ends, Prefix

if TYPE_CHECKING:
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerBase


class TokenTable(ByteTable):
    """The bytes of every token of a tokenizer, derived from the tokenizer alone; see `ByteTable`."""

    @classmethod
    def from_tokenizer(cls, tokenizer: "PreTrainedTokenizerBase") -> "TokenTable":
        """The table of any tokenizer whose pieces determine their bytes.

        Special added tokens and the unknown token are not text; other added tokens are text, until a
        template gives them another role (`fusionchat.corpus.roles`). Ids without a token are unused rows.

        Raises:
            TokenizerError: The tokenizer cannot be expressed in bytes; the message says why.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return cls._build(tokenizer, *slow_pieces(tokenizer))
        family = family_of(backend)
        pieces = {index: piece for piece, index in backend.get_vocab(with_added_tokens=True).items()}
        spelled = {index: family.spell(piece) for index, piece in pieces.items()}
        fallback = {index for index, piece in pieces.items() if BYTE_PIECE.fullmatch(piece)}
        ordinary = added_pieces(tokenizer, family)
        spelled |= {index: family.spell(piece) for index, piece in ordinary.items()}
        return cls._build(tokenizer, family, spelled, fallback, set(ordinary))

    def with_text(self, in_text: NDArray[np.bool_]) -> "TokenTable":
        """The same table with other tokens in the text."""
        return replace(self, in_text=in_text & (np.diff(self.offsets) > 0))

    def with_ends(self, ends: Ends) -> "TokenTable":
        """The same table for a template whose turns end with these tokens."""
        return replace(self, ends=ends)

    @classmethod
    def _build(
        cls,
        tokenizer: "PreTrainedTokenizerBase",
        family: Family,
        spelled: dict[int, bytes | None],
        fallback: set[int],
        ordinary: set[int],
    ) -> "TokenTable":
        # 1. bytes of the model's own pieces; byte-fallback pieces are marked
        control = control_ids(tokenizer)
        added: dict[int, AddedToken] = {
            index: token
            for index, token in tokenizer.added_tokens_decoder.items()
            if token.special or index in control or index not in ordinary
        }
        size = 1 + max([*spelled, *added])
        tokens = [spelled.get(index) or b"" for index in range(size)]
        in_text = np.array([bool(token) for token in tokens], dtype=np.bool_)
        flags = np.zeros(size, dtype=np.uint8)
        for index in fallback:
            if index not in added and len(tokens[index]) == 1:
                flags[index] |= FALLBACK
        # 2. added tokens are their content; control tokens have no bytes in a text
        for index, token in added.items():
            tokens[index] = token.content.encode("utf-8", "surrogatepass")
            in_text[index] = bool(token.content) and not (token.special or index in control)
            flags[index] |= ADDED | (LSTRIP if token.lstrip else 0) | (RSTRIP if token.rstrip else 0)
        for index in unknown_ids(tokenizer):
            in_text[index] = False
            flags[index] |= UNKNOWN
        # 3. one run of bytes, and where each token begins in it
        lengths = np.array([len(token) for token in tokens], dtype=np.int64)
        return cls(
            data=np.frombuffer(b"".join(tokens), dtype=np.uint8),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            in_text=in_text,
            flags=flags,
            prefix=family.prefix,
            bos=tokenizer.bos_token_id,
            eos=tokenizer.eos_token_id,
        )


def added_pieces(tokenizer: "PreTrainedTokenizerBase", family: Family) -> dict[int, str]:
    """Added tokens that are ordinary pieces of text, by id, such as Gemma's runs of spaces ``▁▁``.

    In a SentencePiece tokenizer these match the text after its spaces have become ``▁``: either they are also
    pieces of the model, or they are matched as normalized tokens. Other added tokens are matched by their own
    spelling.
    """
    if family.blank is None:
        return {}
    backend = tokenizer.backend_tokenizer
    own, normalizer = backend.get_vocab(with_added_tokens=False), backend.normalizer
    writes_blank = normalizer is not None and family.blank in normalizer.normalize_str(" ")
    found: dict[int, str] = {}
    for index, token in tokenizer.added_tokens_decoder.items():
        if token.special:
            continue
        if token.normalized and writes_blank:
            found[index] = normalizer.normalize_str(token.content)
        elif own.get(token.content) == index and family.spell(token.content) != token.content.encode():
            found[index] = token.content
    return found


def control_ids(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Ids with a role, whatever their flags say."""
    roles = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    return {int(role) for role in roles if role is not None} | {int(i) for i in tokenizer.all_special_ids}


def unknown_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The ids that the tokenizer uses for unknown characters (none for byte-complete models)."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        kind = type(backend.model).__name__
        if kind != "Unigram":
            piece = getattr(backend.model, "unk_token", None)
            index = backend.token_to_id(piece) if piece else None
            return [] if index is None else [index]
    index = tokenizer.unk_token_id
    return [] if index is None or index == tokenizer.eos_token_id else [int(index)]


def slow_pieces(
    tokenizer: "PreTrainedTokenizerBase",
) -> tuple[Family, dict[int, bytes | None], set[int], set[int]]:
    """Pieces of a tokenizer without a fast back end, as `_build` takes them.

    It has one id a byte, or a SentencePiece model.

    Raises:
        TokenizerError: It is none of these.
    """
    model = getattr(tokenizer, "sp_model", None)
    if model is not None:
        return sentencepiece_pieces(tokenizer)
    probe = "".join(chr(code) for code in range(0x7F)) + "¡߿ࠀ\uffff𐀀\U0010ffff"
    ids = list(tokenizer(probe, add_special_tokens=False)["input_ids"])
    raw = probe.encode()
    if len(ids) == len(raw) and len({index - byte for index, byte in zip(ids, raw, strict=True)}) == 1:
        shift = ids[0] - raw[0]
        pieces: dict[int, bytes | None] = {shift + b: bytes([b]) for b in range(256)}
        return Family("one id a byte", str.encode, "none"), pieces, set(), set()
    raise TokenizerError(
        f"A tokenizer of type {type(tokenizer).__name__} cannot be expressed in bytes: "
        "it has no fast back end, and its ids are not bytes",
        do="convert it to a fast tokenizer (tokenizer.json)",
    )


def sentencepiece_pieces(
    tokenizer: "PreTrainedTokenizerBase",
) -> tuple[Family, dict[int, bytes | None], set[int], set[int]]:
    """Pieces of a slow SentencePiece tokenizer.

    Whether it puts a space first shows in how it tokenizes a single letter.
    """
    model = tokenizer.sp_model
    spelled: dict[int, bytes | None] = {}
    fallback: set[int] = set()
    for index in range(len(tokenizer)):
        piece = str(tokenizer.convert_ids_to_tokens(index))
        known = model.piece_to_id(piece)
        if model.id_to_piece(known) != piece or model.is_control(known) or model.is_unused(known):
            continue
        if model.is_byte(known):
            fallback.add(index)
            spelled[index] = bytes([int(piece[3:5], 16)])
        else:
            spelled[index] = piece.replace("▁", " ").encode()
    prefix: Prefix = "always" if model.encode("x", out_type=str)[0].startswith("▁") else "none"
    return Family("SentencePiece", str.encode, prefix, "▁"), spelled, fallback, set(spelled)
