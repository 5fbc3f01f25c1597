"""Tokenizers that transformers rebuilds are brought back to what their tokenizer.json says."""

import json

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from fusionchat.errors import TokenizerError
from fusionchat.models.load import open_tokenizer
from fusionchat.models.ref import ModelRef
from fusionchat.tokens.own_file import first_difference, read_file, with_rules_of
from tests.shared import SHARED, needs_shared

LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
CODE = Regex(r"\p{N}{1,3}|\p{L}+| ?[^\s\p{L}\p{N}]+|\s+")


def declared(
    folder,
    kind,
    *,
    pre=LEVEL,
    normalizer=None,
    post=None,
    added=("<s>", "</s>", "<|end|>"),
    flags=None,
    **config,
):
    """A byte-level BPE whose folder declares a class."""
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("1", "2"), ("Ġ", "t"), ("h", "e"), ("Ġ", "Ġ"), ("Ċ", "Ċ"), ("'", "s"), ("Ġt", "he")]
    for a, b in merges:
        vocab.setdefault(a + b, len(vocab))
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer, made.decoder = pre, decoders.ByteLevel()
    if normalizer is not None:
        made.normalizer = normalizer
    made.add_special_tokens([AddedToken(a, special=True, normalized=False, **(flags or {})) for a in added])
    if post is not None:
        made.post_processor = post
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": kind, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>"}
    settings |= {
        "chat_template": "{{ messages }}",
        "model_max_length": 77,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | config))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), LEVEL])
GROUPS = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(CODE, "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)
REBUILT = {
    "digits as SmolLM2": ("GPT2Tokenizer", {"pre": DIGITS}, "1212"),
    "groups of digits as Llama 3": ("GPT2Tokenizer", {"pre": GROUPS}, " the"),
    "a prefix space": ("GPT2Tokenizer", {"pre": pre_tokenizers.ByteLevel(add_prefix_space=True)}, "the"),
    "lower case": ("GPT2Tokenizer", {"normalizer": normalizers.Lowercase()}, "THE"),
    "composed characters": ("GPT2Tokenizer", {"normalizer": normalizers.NFKC()}, "１２"),
    "byte level under a sentencepiece class": ("GemmaTokenizer", {}, " the"),
    "no composed characters under a class that composes": ("Qwen2Tokenizer", {}, "e\u0301"),
    "digits under Phi's class": ("CodeGenTokenizer", {"pre": DIGITS}, "12"),
    "what the class cannot build at all": ("T5TokenizerFast", {}, "12"),
    "digits under the name of a fast class": ("GPT2TokenizerFast", {"pre": DIGITS}, "12"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "how", "text"), REBUILT.values(), ids=list(REBUILT))
def test_the_file_wins_where_transformers_builds_another(tmp_path, kind, how, text):
    folder = declared(tmp_path / "m", kind, **how)
    loaded, file = (
        open_tokenizer(ModelRef("m", str(folder), str(folder))),
        Tokenizer.from_file(str(folder / "tokenizer.json")),
    )
    if kind == "T5TokenizerFast":  # which cannot be built at all: the general class is taken at once
        with pytest.raises(TypeError):
            AutoTokenizer.from_pretrained(folder)
        assert first_difference(loaded, read_file(folder / "tokenizer.json")) is None
        return
    assert first_difference(loaded, read_file(folder / "tokenizer.json")) is not None
    if kind != "GemmaTokenizer":  # which lacks the byte pieces that its class needs, and raises
        assert (
            loaded(text, add_special_tokens=False)["input_ids"]
            != file.encode(text, add_special_tokens=False).ids
        )
    made = with_rules_of(loaded, folder / "tokenizer.json")
    for one in (text, "It's the 1212th\n\n  time <|end|> the 12"):
        assert (
            made(one, add_special_tokens=False)["input_ids"] == file.encode(one, add_special_tokens=False).ids
        )
    assert (made.bos_token, made.eos_token, made.model_max_length) == ("<s>", "</s>", 77)
    assert made.chat_template == "{{ messages }}" and made.is_fast and len(made) == file.get_vocab_size()
    assert made.decode(made("the 12", add_special_tokens=False)["input_ids"]).strip() == "the 12"


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "GPT2Tokenizer"])
def test_nothing_differs_where_the_class_keeps_the_rules(tmp_path, kind):
    folder = declared(tmp_path / "m", kind, pre=DIGITS if kind.startswith("Pre") else LEVEL)
    assert (
        first_difference(AutoTokenizer.from_pretrained(folder), read_file(folder / "tokenizer.json")) is None
    )


def test_the_files_first_token_and_limits_of_length(tmp_path):
    post = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 263)])
    folder = declared(tmp_path / "m", "GPT2Tokenizer", pre=DIGITS, post=post)
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert file.token_to_id("<s>") == 263
    made = with_rules_of(AutoTokenizer.from_pretrained(folder), folder / "tokenizer.json")
    assert made("12")["input_ids"] == file.encode("12").ids and made("12")["input_ids"][0] == 263
    file.enable_truncation(2)
    file.save(str(folder / "tokenizer.json"))
    made = with_rules_of(AutoTokenizer.from_pretrained(folder), folder / "tokenizer.json")
    assert len(made("a b c d e f", add_special_tokens=False)["input_ids"]) == 11


def test_tokens_of_the_config_are_kept_under_their_ids(tmp_path):
    entry = {
        "content": "<tool>",
        "special": True,
        "normalized": False,
        "lstrip": False,
        "rstrip": False,
        "single_word": False,
    }
    folder = declared(tmp_path / "m", "GPT2Tokenizer", pre=DIGITS, added_tokens_decoder={"266": entry})
    made = with_rules_of(AutoTokenizer.from_pretrained(folder), folder / "tokenizer.json")
    assert made("1<tool>2", add_special_tokens=False)["input_ids"][1] == 266 and len(made) == 267


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
@pytest.mark.parametrize("at", [0, 45, 89])
def test_the_files_flags_win_for_every_added_token(tmp_path, flag, at):
    """As of 256 reserved tokens: the config's list gives one of them another flag."""
    names = [f"<|r{i}|>" for i in range(90)]
    entry = {"content": names[at], "special": True, flag: True}
    folder = declared(
        tmp_path / "m",
        "PreTrainedTokenizerFast",
        added=("<s>", "</s>", *names),
        added_tokens_decoder={str(265 + at): entry},
    )
    file, loaded = (
        read_file(folder / "tokenizer.json"),
        open_tokenizer(ModelRef("m", str(folder), str(folder))),
    )
    assert file.token_to_id(names[at]) == 265 + at and first_difference(loaded, file) is not None
    for text in (f"a {names[at]} b", f"a{names[at]}b"):
        made = with_rules_of(loaded, folder / "tokenizer.json")
        assert (
            made(text, add_special_tokens=False)["input_ids"]
            == file.encode(text, add_special_tokens=False).ids
        )


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": {}')
    with pytest.raises(TokenizerError, match="damaged"):
        read_file(tmp_path / "tokenizer.json")


@needs_shared
@pytest.mark.parametrize("name", ["openchat-3.5", "qwen1.5-72b-chat", "phi-3-mini-instruct"])
def test_published_tokenizers_as_they_are_loaded_agree_with_their_files(name):
    folder = SHARED / "tokenizers" / name
    assert (
        first_difference(AutoTokenizer.from_pretrained(folder), read_file(folder / "tokenizer.json")) is None
    )
