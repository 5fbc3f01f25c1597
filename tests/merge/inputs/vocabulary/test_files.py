"""Tokens are read from whatever file says them."""

import base64
import json

import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.vocabulary.files import (
    Vocabulary,
    first_difference,
    largest_token,
    read_vocabulary,
    same_tokenizer,
    vocabulary_file,
)
from tests.merge.inputs.vocabulary.tokenizers import WORDS, as_json, sentencepiece


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("tokenizer.model", sentencepiece(WORDS), {"<unk>": 0, "▁a": 3, "e": 7}),
        ("spiece.model", sentencepiece(WORDS[:3]), {"</s>": 2}),
        ("vocab.json", json.dumps({"Ġa": 5, "b": 6}), {"Ġa": 5, "b": 6}),
        ("vocab.txt", "[PAD]\n##a\n", {"[PAD]": 0, "##a": 1}),
        ("qwen.tiktoken", base64.b64encode(b" a\n") + b" 3\n" + base64.b64encode(b"b") + b" 4\n", {"ĠaĊ": 3, "b": 4}),
        ("tokenizer.model", base64.b64encode("é".encode()) + b" 0\n", {"Ã©": 0}),
        ("tekken.json", json.dumps({"config": {"default_num_special_tokens": 2, "default_vocab_size": 3},
                                    "vocab": [{"rank": 0, "token_bytes": "YQ=="}, {"rank": 1, "token_bytes": "Yg=="}],
                                    "special_tokens": [{"rank": 1, "token_str": "<s>"}]}), {"a": 2, "<s>": 1}),
    ],
)  # fmt: skip
def test_tokens_are_read_from_every_kind_of_file(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "added_tokens.json").write_text('{"<new>": 90}')
    (tmp_path / "tokenizer_config.json").write_text(
        '{"added_tokens_decoder": {"91": {"content": "<end>", "special": true}}}'
    )
    found = read_vocabulary(tmp_path)
    assert {text: found.ids[text] for text in expected} == expected
    assert (found.ids["<new>"], found.ids["<end>"], set(found.added)) == (90, 91, {"<new>", "<end>"})
    assert "b" not in found.ids or name != "tekken.json"  # beyond the vocabulary's size


def test_sentencepiece_itself_reads_the_same(tmp_path):
    sentencepiece_library = pytest.importorskip("sentencepiece")
    (tmp_path / "text").write_text("the cat sat on the mat and that was that\n" * 20)
    sentencepiece_library.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "tokenizer"), vocab_size=30, hard_vocab_limit=False,
    )  # fmt: skip
    library = sentencepiece_library.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    (tmp_path / "tokenizer.vocab").unlink()
    assert read_vocabulary(tmp_path).ids == {library.id_to_piece(n): n for n in range(len(library))}


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path):
    damaged = {"x.tiktoken": b"? ?\n", "tokenizer.model": b"\n\xff", "tokenizer.json": b"{}"}
    for name, content in damaged.items():  # each is read before the one above
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MergeError, match=name.replace(".", r"\.")):
            read_vocabulary(tmp_path)


def test_the_first_kind_of_file_counts(tmp_path):
    assert vocabulary_file(tmp_path) is None and read_vocabulary(tmp_path) is None
    for name in (
        "x.tiktoken",
        "vocab.txt",
        "vocab.json",
        "spiece.model",
        "tokenizer.model",
        "tokenizer.json",
    ):
        (tmp_path / name).write_text("")
        assert vocabulary_file(tmp_path).name == name


def test_a_unigram_list_has_its_tokens_in_order(tmp_path):
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"model": {"vocab": [["<unk>", 0.0], ["▁a", -1.5]]}, "added_tokens": None})
    )
    assert read_vocabulary(tmp_path) == Vocabulary({"<unk>": 0, "▁a": 1}, {})


def test_rows_that_a_model_needs():
    assert Vocabulary({"a": 0, "b": 7}, {}).rows == 8 and Vocabulary({}, {}).rows == 0


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ({"a": 0, "b": 1}, None),
        ({"a": 0}, None),
        ({"a": 0, "b": 2, "c": 1}, ("c", 1, None)),
        ({"a": 1, "b": 0}, ("b", 0, 1)),
    ],
)
def test_the_first_token_that_is_elsewhere(target, found):
    assert first_difference(Vocabulary({"a": 0, "b": 1}, {}), Vocabulary(target, {})) == found


def test_the_token_with_the_largest_row(tmp_path):
    assert largest_token(tmp_path) is None
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece(WORDS))
    assert largest_token(tmp_path) == ("e", 7)
    (tmp_path / "added_tokens.json").write_text('{"<new>": 12}')
    assert largest_token(tmp_path) == ("<new>", 12)
    (tmp_path / "tokenizer.model").write_bytes(b"\n\xff")  # cannot be read: what is beside it still can
    assert largest_token(tmp_path) == ("<new>", 12)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\n\x05ab", "cut short"),
        (b"\n\x03\x0a\x01a\x0b", "not a SentencePiece model"),
        (b"\n\x80", "damaged"),
    ],
)
def test_a_sentencepiece_model_that_is_none(tmp_path, raw, words):
    (tmp_path / "tokenizer.model").write_bytes(raw)
    with pytest.raises(MergeError, match=words):
        read_vocabulary(tmp_path)


def test_numbers_and_fixed_fields_of_sentencepiece_are_passed_over(tmp_path):
    """Field 3 is a number of two bytes, field 4 has 8 bytes, field 5 has 4; then one piece."""
    raw = sentencepiece(["a"])[:-4] + b"\x18\x80\x01" + b"\x21" + bytes(8) + b"\x2d" + bytes(4)
    (tmp_path / "tokenizer.model").write_bytes(raw + sentencepiece(["b"]))
    assert read_vocabulary(tmp_path).ids == {"a": 0, "b": 1}


def test_tokenizers_are_the_same_byte_by_byte(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(as_json(WORDS))
    one, two = tmp_path / "a", tmp_path / "b"
    assert same_tokenizer(one, two)
    (two / "tokenizer.json").write_text(as_json(WORDS[::-1]))
    assert not same_tokenizer(one, two)
    (two / "tokenizer.json").unlink()
    assert not same_tokenizer(one, two)
    (two / "vocab.json").write_text("{}")
    assert not same_tokenizer(one, two)
