"""mergekit's chat_template: text, or the one that most models have."""

import json

import pytest

from fusionchat.merge.inputs.vocabulary.chat_templates import check_template, set_template

ONE, TWO = "{{ messages[0].content }}", "{% for m in messages %}{{ m.content }}{% endfor %}"


def folder(place, *, file=None, config=None, old=None):
    place.mkdir()
    if file is not None:
        (place / "chat_template.jinja").write_text(file)
    if old is not None:
        (place / "chat_template.json").write_text(json.dumps({"chat_template": old}))
    (place / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"} | (config or {})))
    return place


def result(place):
    return (place / "chat_template.jinja").read_text()


def test_text_takes_the_place_of_every_other_form(tmp_path):
    out = folder(tmp_path / "out", file=TWO, config={"chat_template": TWO}, old=TWO)
    set_template(out, ONE, [])
    assert result(out) == ONE and not (out / "chat_template.json").exists()
    assert json.loads((out / "tokenizer_config.json").read_text()) == {"eos_token": "</s>"}


def test_auto_takes_what_most_models_have_in_whatever_form(tmp_path):
    named = [{"name": "tool_use", "template": ONE}, {"name": "default", "template": TWO}]
    models = [
        folder(tmp_path / "a", file=ONE, config={"chat_template": TWO}),
        folder(tmp_path / "b", config={"chat_template": TWO}),
        folder(tmp_path / "c", config={"chat_template": named}),
        folder(tmp_path / "d"),
    ]
    out = folder(tmp_path / "out", file=ONE)
    set_template(out, "auto", models)
    assert result(out) == TWO
    set_template(out, "auto", models[:2])  # as many have one as the other: the first model's
    assert result(out) == ONE


def test_auto_leaves_a_folder_alone_where_nobody_has_one(tmp_path, capsys):
    out = folder(tmp_path / "out")
    set_template(out, "auto", [folder(tmp_path / "a")])
    assert not (out / "chat_template.jinja").exists()
    assert "no model has a chat template" in "".join(capsys.readouterr())


def test_names_are_refused():
    with pytest.raises(ValueError, match="'chatml' is neither auto nor Jinja text"):
        check_template("chatml")
    assert [check_template(v) for v in (None, "auto", ONE)] == [None, "auto", ONE]
