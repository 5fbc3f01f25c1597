"""A tokenizer's files in a saved folder: the model's own, byte for byte, and what transformers makes of them."""

import json

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from fusionchat.models.files import TOKENIZER, matching
from fusionchat.models.identity import tokenizer_identity
from fusionchat.models.load import load_tokenizer
from fusionchat.models.ref import ModelRef
from fusionchat.models.tokenizer import copy_tokenizer, rebuilt_on
from tests.tokens.test_own_file import DIGITS, declared

TEXT = "It's the 1212th\n\n  time"


def ref_of(folder, **more):
    return ModelRef("pivot", str(folder), str(folder), **more)


def ids(tokenizer):
    return tokenizer(TEXT, add_special_tokens=False)["input_ids"]


def of_file(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "PreTrainedTokenizerFast", "GPT2TokenizerFast"])
def test_the_loader_and_a_saved_folder_use_the_files_ids(tmp_path, kind):
    folder, out = declared(tmp_path / "m", kind, pre=DIGITS), tmp_path / "out"
    assert ids(load_tokenizer(ref_of(folder))) == of_file(folder)
    assert (rebuilt_on(ref_of(folder)) is not None) == kind.startswith("GPT2")
    out.mkdir()
    copy_tokenizer(ref_of(folder), out)
    assert (out / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    (out / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert ids(AutoTokenizer.from_pretrained(out)) == ids(load_tokenizer(ref_of(out))) == of_file(folder)
    same = (out / "tokenizer_config.json").read_bytes() == (folder / "tokenizer_config.json").read_bytes()
    assert same == kind.startswith("Pre")


def test_a_saved_folder_opens_where_the_declared_class_cannot_be_built(tmp_path):
    folder, out = declared(tmp_path / "m", "T5Tokenizer", pre=DIGITS), tmp_path / "out"
    with pytest.raises(TypeError):
        AutoTokenizer.from_pretrained(folder)
    out.mkdir()
    copy_tokenizer(ref_of(folder), out)
    assert ids(AutoTokenizer.from_pretrained(out)) == of_file(folder)


@pytest.mark.parametrize("more", [{"lstrip": True}, {"rstrip": True}, {"single_word": True}])
def test_a_saved_folder_gives_added_tokens_the_files_flags(tmp_path, more):
    """The config lists the file's `<|end|>` with another flag, and a token of its own; the class is right already."""
    listed = {
        "265": {"content": "<|end|>", "special": True} | more,
        "266": {"content": "<tool>", "special": True},
    }
    folder, out = (
        declared(tmp_path / "m", "PreTrainedTokenizerFast", added_tokens_decoder=listed),
        tmp_path / "out",
    )
    out.mkdir()
    copy_tokenizer(ref_of(folder), out)
    saved, mine = AutoTokenizer.from_pretrained(out), load_tokenizer(ref_of(folder))
    for text in ("a <|end|> b", "a<|end|>b", "a<tool>b"):
        assert saved(text)["input_ids"] == mine(text)["input_ids"], text
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert [saved(text)["input_ids"] for text in ("a <|end|> b", "a<|end|>b")] == [
        file.encode(text).ids for text in ("a <|end|> b", "a<|end|>b")
    ]
    assert saved.convert_tokens_to_ids("<tool>") == 266


def test_all_files_are_copied_and_older_ones_removed(tmp_path):
    folder, out = declared(tmp_path / "m", "PreTrainedTokenizerFast"), tmp_path / "out"
    for name in ("tekken.json", "additional_chat_templates/rag.jinja", "chat_template.jinja"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{{# {name} #}}")
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / "vocab.txt").write_text("old")
    copy_tokenizer(ref_of(folder), out)
    names = matching(folder, TOKENIZER)
    assert matching(out, TOKENIZER) == names and len(names) == 5
    assert all((out / name).read_bytes() == (folder / name).read_bytes() for name in names)


def test_another_template_replaces_every_one_that_the_folder_has(tmp_path):
    folder, out = declared(tmp_path / "m", "PreTrainedTokenizerFast"), tmp_path / "out"
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/tool_use.jinja").write_text("TOOLS")
    (folder / "chat_template.json").write_text("{}")
    out.mkdir()
    copy_tokenizer(ref_of(folder, template="{{ messages | length }}"), out)
    assert AutoTokenizer.from_pretrained(out).chat_template == "{{ messages | length }}"
    assert not list(out.glob("additional_chat_templates/*")) and not (out / "chat_template.json").exists()
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())
    assert (out / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_a_tokenizer_without_tokenizer_json_gets_one_beside_its_files(tmp_path):
    folder, out = declared(tmp_path / "m", "GPT2Tokenizer"), tmp_path / "out"
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    lines = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines))
    (folder / "tokenizer.json").unlink()
    out.mkdir()
    copy_tokenizer(ref_of(folder), out)
    assert (out / "vocab.json").read_bytes() == (folder / "vocab.json").read_bytes()
    assert ids(load_tokenizer(ref_of(out))) == ids(load_tokenizer(ref_of(folder))) == of_file(out)


def test_every_file_of_a_tokenizer_is_part_of_its_identity(tmp_path):
    folder = declared(tmp_path / "m", "PreTrainedTokenizerFast")
    before = tokenizer_identity(ref_of(folder))
    for name in ("tekken.json", "x.tiktoken", "sentencepiece.bpe.model", "additional_chat_templates/a.jinja"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
        after = tokenizer_identity(ref_of(folder))
        assert after != before
        before = after


def test_a_saved_template_has_the_variables_as_defaults(tmp_path):
    source = "{% for m in messages %}{{ m.content }}{% endfor %}{{ 'no' if think is defined and not think }}"
    folder, out, other = declared(tmp_path / "m", "PreTrainedTokenizerFast"), tmp_path / "out", tmp_path / "o"
    (folder / "chat_template.jinja").write_text(source)
    for made in (out, other):
        made.mkdir()
    copy_tokenizer(ref_of(folder, variables={"think": False}), out)
    chat = [{"role": "user", "content": "Hi"}]
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "Hino"
    assert tokenizer.apply_chat_template(chat, tokenize=False, think=True) == "Hi"
    copy_tokenizer(ref_of(folder), other)
    assert (other / "chat_template.jinja").read_text() == source
