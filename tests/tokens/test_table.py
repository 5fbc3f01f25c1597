import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, ByT5Tokenizer, CanineTokenizer, PreTrainedTokenizerFast

from fusionchat.errors import TokenizerError
from fusionchat.tokens.spans import Spans, Untiled
from fusionchat.tokens.table import TokenTable
from tests.shared import SHARED, needs_shared
from tests.tokens.made import add, byte_level, gemma_like, llama_like, made, metaspace

NASTY = [
    "",
    " leading and trailing  ",
    "\r\n\r\n\ttabs\x00nul",
    "emoji 👩‍👩‍👧‍👦🏳️‍🌈 🇩🇪🇫🇷 1️⃣",
    "שלום עולם مرحبا بالعالم",
    "你好，世界。 全角　空格",
    "e\u0301 combining a\u0308\u0323",
    "literal Ġ and Ċ but no blank mark",
    "\u2028line\u00a0break\ufeff",
    "<0x41> <|end|",
]
COMPLETE = ["byte-level", "byte-level with a prefix", "sentencepiece", "sentencepiece without prefix"]


def tile(tokenizer, table, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids, table.tile(np.array(ids, np.int64), text.encode())


@pytest.fixture(scope="module")
def tables():
    return {name: (t, TokenTable.from_tokenizer(t)) for name, t in made().items()}


@pytest.mark.parametrize("name", COMPLETE)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=60))
def test_byte_complete_families_tile_any_text(tables, name, text):
    tokenizer, table = tables[name]
    ids, spans = tile(tokenizer, table, text)
    assert isinstance(spans, Spans), spans
    raw = text.encode()
    for token, a, b in zip(ids, spans.begin, spans.end, strict=True):
        spelled = table.token(token)
        assert raw[max(a, 0) : b] == spelled[len(spelled) - (b - max(a, 0)) :]


@pytest.mark.parametrize("name", COMPLETE)
def test_nasty_texts(tables, name):
    for text in NASTY:
        assert isinstance(tile(*tables[name], text)[1], Spans), text


@pytest.mark.parametrize("name", list(made()))
def test_every_family_tiles_plain_text_or_says_why(tables, name):
    text = "hello world the dog" if name == "word piece" else "The quick dog, hello"
    tokenizer, table = tables[name]
    result = tile(tokenizer, table, text)[1]
    if name == "byte-level lower case":
        assert isinstance(result, Untiled) and "changes" in result.reason
        assert isinstance(tile(tokenizer, table, text.lower())[1], Spans)
    else:
        assert isinstance(result, Spans), result
    assert not table.in_text[[tokenizer.bos_token_id, tokenizer.eos_token_id]].any()
    assert (table.bos, table.eos) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert table.size == max(tokenizer.get_vocab().values()) + 1


def test_what_does_not_tile_is_refused_with_the_reason(tables):
    for name, text, word in [
        ("byte-level NFC", "e\u0301", "changes"),
        ("sentencepiece", "a ▁ b", "changes"),
        ("sentencepiece without fallback", "snow ☃", "does not know"),
        ("characters", "snow ☃", "does not know"),
        ("word piece", "two  blanks", "changes"),
        ("unigram", "snow ☃", "does not know"),
    ]:
        result = tile(*tables[name], text)[1]
        assert isinstance(result, Untiled) and word in result.reason, name
    assert isinstance(tile(*tables["byte-level NFC"], "é")[1], Spans)


def test_added_tokens_by_role():
    tokenizer = add(add(byte_level(), "<tool>", special=True), "Ｅ", "flush ", rstrip=True)
    table = TokenTable.from_tokenizer(tokenizer)
    ids = {t: tokenizer.convert_tokens_to_ids(t) for t in ("<tool>", "Ｅ", "flush ")}
    assert not table.in_text[ids["<tool>"]] and table.in_text[ids["Ｅ"]]
    assert table.token(ids["Ｅ"]) == "Ｅ".encode()
    for text in ("a <tool> b", "xＥ  y", "flush   z"):
        assert isinstance(tile(tokenizer, table, text)[1], Spans), text


@pytest.mark.parametrize("normalized", [False, True])
def test_runs_of_spaces_that_are_added_tokens_are_spaces(normalized):
    """Gemma: ``▁▁`` is an added token that is neither special nor normalized, and two spaces."""
    tokenizer = gemma_like(normalized=normalized)
    table = TokenTable.from_tokenizer(tokenizer)
    run = tokenizer.convert_tokens_to_ids("▁▁▁")
    assert table.token(run) == b"   " and table.in_text[run]
    for name, raw in [("\n\n", b"\n\n"), ("\t\t", b"\t\t"), ("<table>", b"<table>"), ("</b>", b"</b>")]:
        index = tokenizer.convert_tokens_to_ids(name)
        assert table.token(index) == raw and table.in_text[index], name
    text = "a   b  c\n\n  d\t\te     <table> x</b>  é"
    ids, spans = tile(tokenizer, table, text)
    assert run in ids and isinstance(spans, Spans), spans
    raw = text.encode()
    assert all(table.token(i) == raw[a:b] for i, a, b in zip(ids, spans.begin, spans.end, strict=True))
    assert not any(table.token(i).startswith(b"\xe2") for i in ids)


def test_a_literal_mark_of_a_space_is_still_refused():
    tokenizer = gemma_like()
    assert isinstance(tile(tokenizer, TokenTable.from_tokenizer(tokenizer), "a ▁▁ b")[1], Untiled)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        llama_like,
        lambda: llama_like(prefix=False),
        byte_level,
        lambda: metaspace("always"),
        lambda: metaspace("first"),
    ],
)
def test_added_tokens_with_any_flags_tile_the_text(make, normalized):
    """``add_tokens("<tool>")`` gives a normalized token: with a space prepended it is ``▁<tool>``."""
    tokenizer = make()
    flags = {
        "<tool>": {},
        "a b": {},
        "one": {"single_word": True},
        "ls": {"lstrip": True},
        "rs": {"rstrip": True},
    }
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=normalized, **f) for t, f in flags.items()])
    table = TokenTable.from_tokenizer(tokenizer)
    for text in ("a <tool> b", "a<tool>b", "<tool>", "la b", "one lone one", "a  ls b", "als", "rs  b", "rs"):
        ids, spans = tile(tokenizer, table, text)
        assert isinstance(spans, Spans), (text, spans)
        assert table.in_text[ids].all()


def test_every_byte_of_a_multi_byte_text_is_a_boundary_for_byte_fallback():
    tokenizer = llama_like()
    table = TokenTable.from_tokenizer(tokenizer)
    _, spans = tile(tokenizer, table, "☃𐍈")
    assert spans.end.tolist()[-7:] == [1, 2, 3, 4, 5, 6, 7]


def test_unused_rows_have_no_bytes():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 5, "<unk>": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    table = TokenTable.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>"))
    assert table.size == 6 and table.in_text.tolist() == [True, False, False, False, False, True]


def test_slow_tokenizers():
    byt5 = ByT5Tokenizer()
    table = TokenTable.from_tokenizer(byt5)
    for text in NASTY:
        assert isinstance(tile(byt5, table, text)[1], Spans), text
    assert table.token(3 + 0xFF) == b"\xff" and table.in_text.sum() == 256
    with pytest.raises(TokenizerError, match="CanineTokenizer"):
        TokenTable.from_tokenizer(CanineTokenizer())


def test_end_of_word_marks_are_refused_by_name():
    tokenizer = Tokenizer(models.BPE({"a</w>": 0, "a": 1}, [], end_of_word_suffix="</w>"))
    with pytest.raises(TokenizerError, match="end of words"):
        TokenTable.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer))


@needs_shared
@pytest.mark.parametrize("name", ["openchat-3.5", "phi-3-mini-instruct", "gpt2", "nh2-solar-10.7b"])
def test_real_tokenizers_tile_real_text(name):
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "tokenizers" / name)
    table = TokenTable.from_tokenizer(tokenizer)
    text = (
        (SHARED / "text" / "wikitext2_valid.txt").read_text(encoding="utf-8")[:20000].replace("<unk>", "unk")
    )
    for sample in [text, *NASTY]:
        ids, spans = tile(tokenizer, table, sample)
        assert isinstance(spans, Spans), sample[:50]
        assert table.in_text[ids].all()
