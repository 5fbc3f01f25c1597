"""Files that are no mergekit configuration are named for what they are."""

import pytest

from fusionchat.cli.verbs import guarded
from fusionchat.errors import RecipeError
from fusionchat.merge.mergekit.files import foreign, is_mergekit, read_mergekit

ONE = "merge_method: linear\nmodels: [{model: a}]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"name: first\n{ONE}---\n{ONE}", "2 mergekit configurations, as mergekit-multi"),
        ("a: 1\n---\nb: 2\n", "2 YAML documents"),
        (
            "- {merge_method: linear, models: [a]}\n- {merge_method: ties}\n",
            "a list of 2 mergekit configurations",
        ),
        ("- {path: x.jsonl}\n", "a list of 1 entries"),
        (
            "first: {merge_method: linear}\nsecond: {merge_method: ties}\n",
            "2 mergekit configurations by name",
        ),
        ("base_model: x\ngate_mode: hidden\nexperts: [{source_model: y}]\n", "mergekit-moe"),
        ("base_model: x\ndatasets: [{path: y}]\nadapter: lora\n", "axolotl"),
        ("model_name_or_path: x\nstage: sft\n", "LLaMA-Factory"),
        ("genome: {models: [a, b], merge_method: ties}\ntasks: []\n", "mergekit-evolve"),
        ('{"architectures": ["A"], "model_type": "llama"}', "config.json"),
        ("", "empty"),
        ("just words\n", "a plain str"),
        ("colour: red\nsize: 3\n", "its keys are colour, size"),
    ],
)
def test_other_files(tmp_path, text, words):
    path = tmp_path / "file.yml"
    path.write_text(text)
    refusal = foreign(path)
    assert refusal is not None and words in str(refusal) and "recipe" not in str(refusal)
    assert not is_mergekit(path)
    with pytest.raises(RecipeError, match="not a mergekit configuration"):
        read_mergekit(path)


def test_recipes_and_mergekit_files_are_not_foreign(tmp_path):
    path = tmp_path / "file.yml"
    for text, mergekit in (
        (ONE, True),
        (f"name: x\n{ONE}", True),
        ("base_model: a\nmodels: [{model: b}]\n", True),
        ("pivot: a\nsources: {b: c}\n", False),
        ("pivot: [broken", False),
    ):
        path.write_text(text)
        assert foreign(path) is None and is_mergekit(path) == mergekit
    path.write_text("models: [{model: a}]\nmethod: model_stock\n")
    with pytest.raises(RecipeError, match="models, method, but no merge_method"):
        read_mergekit(path)


def test_a_file_that_is_no_yaml_is_called_so_whatever_options_it_has(tmp_path, capsys):
    path = tmp_path / "f.yaml"
    path.write_text("merge_method: linear\nmodels:\n\t- model: a\n")
    assert guarded(["merge", str(path), "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert "This is not YAML" in shown.err + shown.out
