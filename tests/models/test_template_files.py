"""Chat templates in JSON: transformers' processor is the oracle of `chat_template.json`."""

import json
from dataclasses import replace

import pytest
from transformers.processing_utils import ProcessorMixin

from fusionchat.corpus.jinja import own_template
from fusionchat.errors import ModelError
from fusionchat.models.load import load_tokenizer, other_template
from fusionchat.models.ref import ModelRef
from fusionchat.models.template_files import read_template
from fusionchat.recipe.schema import load_recipe
from tests.tiny import write_recipe
from tests.tokens.made import byte_level

ONE, OTHER = "{% for m in messages %}{{ m.content }}\n{% endfor %}", "{{ messages }}"


def folder(path, form=None, **files):
    tokenizer = byte_level()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(path)
    if form is not None:
        config = json.loads((path / "tokenizer_config.json").read_text())
        (path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": form}))
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return ModelRef("s", str(path), str(path))


def test_the_old_file_of_processors_is_read(tmp_path):
    ref = folder(tmp_path, chat_template__json=json.dumps({"chat_template": ONE}))
    assert own_template(load_tokenizer(ref), "s") == ONE
    assert ProcessorMixin.get_processor_dict(str(tmp_path))[0]["chat_template"] == ONE
    borrower = replace(ref, name="t", borrows=ref)
    assert other_template(borrower) == ONE


@pytest.mark.parametrize(
    ("form", "files"),
    [(ONE, {}), (None, {"chat_template__jinja": ONE}), ([{"name": "default", "template": ONE}], {})],
)
def test_the_tokenizers_own_template_is_first(tmp_path, form, files):
    ref = folder(tmp_path, form, chat_template__json=json.dumps({"chat_template": OTHER}), **files)
    assert own_template(load_tokenizer(ref), "s") == ONE


def test_named_templates_in_the_old_file(tmp_path):
    named = [{"name": "tool_use", "template": OTHER}, {"name": "default", "template": ONE}]
    ref = folder(tmp_path, chat_template__json=json.dumps({"chat_template": named}))
    assert own_template(load_tokenizer(ref), "s") == ONE
    ref = folder(tmp_path, chat_template__json=json.dumps({"chat_template": {"rag": ONE}}))
    with pytest.raises(ModelError, match=r"rag"):
        own_template(load_tokenizer(ref), "s")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"chat_template": 3}', '{"chat_template": [1]}', '"x"'])
def test_a_file_without_a_template_is_named(tmp_path, text):
    ref = folder(tmp_path, chat_template__json=text)
    with pytest.raises(ModelError, match="has no chat template") as caught:
        load_tokenizer(ref)
    assert caught.value.exit_code == 2 and "chat_template.json" in str(caught.value)


def test_a_recipe_takes_either_file(tiny):
    (tiny / "t.json").write_text(json.dumps({"chat_template": ONE}), encoding="utf-8-sig")
    (tiny / "t.jinja").write_text(ONE)
    for name in ("t.json", "t.jinja"):
        write_recipe(tiny / "recipe.yaml", pivot={"model": "input/models/pivot", "template": name})
        assert load_recipe("recipe.yaml").refs()["pivot"].template == ONE
    assert read_template(tiny / "t.json") == ONE
