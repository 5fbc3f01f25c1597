"""Tokenizer files, made by hand."""

import json

WORDS = ["<unk>", "<s>", "</s>", "▁a", "▁b", "c", "d", "e"]


def sentencepiece(pieces):
    """The bytes of a ``tokenizer.model``: field 1 of each is a message with the piece, its score and its type."""
    raw = b""
    for piece in pieces:
        text = piece.encode()
        inner = b"\n" + bytes([len(text)]) + text + b"\x15\x00\x00\x80\xbf\x18\x01"
        raw += b"\n" + bytes([len(inner)]) + inner
    return raw + b"\x12\x02\x18\x01"  # trainer_spec


def as_json(tokens, added=()):
    entries = [{"id": len(tokens) + n, "content": text, "special": True} for n, text in enumerate(added)]
    return json.dumps({"model": {"vocab": {t: n for n, t in enumerate(tokens)}}, "added_tokens": entries})
