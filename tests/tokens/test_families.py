import pytest

from fusionchat.tokens.families import (
    byte_alphabet,
    family_of,
    spell_byte_level,
    spell_metaspace,
    spell_word_piece,
)
from tests.tokens.made import made


def test_the_byte_alphabet_has_every_byte_once():
    assert sorted(byte_alphabet().values()) == list(range(256))
    assert spell_byte_level("Ġa") == b" a" and spell_byte_level("Ċ") == b"\n"
    assert spell_byte_level("你") == "你".encode()


def test_pieces_are_spelled():
    with_bytes, without = (spell_metaspace("▁", bytes_too=b) for b in (True, False))
    assert with_bytes("<0x0A>") == b"\n" and without("<0x0A>") == b"<0x0A>"
    assert with_bytes("▁▁x") == b"  x"
    word = spell_word_piece("##")
    assert (word("play"), word("##ing"), word("##")) == (b" play", b"ing", b" ##")


@pytest.mark.parametrize(
    ("name", "family", "prefix"),
    [
        ("byte-level", "byte-level BPE", "none"),
        ("byte-level with a prefix", "byte-level BPE", "if_missing"),
        ("sentencepiece", "SentencePiece BPE", "always"),
        ("sentencepiece without prefix", "SentencePiece BPE", "none"),
        ("metaspace always", "SentencePiece BPE", "if_missing"),
        ("metaspace first", "SentencePiece BPE", "if_missing"),
        ("metaspace never", "SentencePiece BPE", "none"),
        ("unigram", "SentencePiece Unigram", "if_missing"),
        ("word piece", "WordPiece", "if_missing"),
        ("characters", "plain BPE", "none"),
    ],
)
def test_families_are_told_by_their_parts(name, family, prefix):
    found = family_of(made()[name].backend_tokenizer)
    assert (found.name, found.prefix) == (family, prefix)
