"""mergekit's keys and types, and what is said of mistakes."""

import pytest
from pydantic import TypeAdapter

from fusionchat.errors import RecipeError
from fusionchat.merge.mergekit.schema import Reference, parts, validated

REFERENCE = TypeAdapter(Reference)
GOOD = {
    "merge_method": "ties",
    "base_model": "b",
    "models": [{"model": "x", "parameters": {"weight": "1e-5"}}],
}


def said(**changes):
    """What is said of a file with these changes, line by line, without the title."""
    with pytest.raises(RecipeError) as caught:
        validated(
            {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}, name="m.yaml"
        )
    assert caught.value.where == "m.yaml" and "merge_methods.md" in caught.value.do
    title, *lines = caught.value.what.splitlines()
    assert title == ("There is a mistake:" if len(lines) == 1 else "There are mistakes:")
    return [line.strip() for line in lines]


def test_a_file_without_mistakes_is_read():
    file = validated(
        {**GOOD, "dtype": "float16", "models": [{"model": {"model": {"path": "x"}}}]}, name="m.yaml"
    )
    assert (str(file.models[0].model), file.stored, file.slices) == ("x", "float16", None)
    assert validated(GOOD, name="m.yaml").models[0].parameters == {"weight": 1e-5}
    assert validated({**GOOD, "dtype": "float64", "out_dtype": "bfloat16"}, name="").stored == "bfloat16"
    assert validated({**GOOD, "tokenizer": {}}, name="").tokenizer.source == "union"


ONE = {"model": "x", "layer_range": [0, 2]}
GIVE_ONE = "use either `models` or `slices`"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"dtyp": "float16"}, "dtyp: there is no such key (did you mean 'dtype'?)"),
        ({"merge_method": 3}, "merge_method: must be text, not 3"),
        ({"dtype": "int8"}, "dtype: must be one of bfloat16, float16, float32, not 'int8'"),
        ({"chat_template": "chatml"},
         "chat_template: 'chatml' is neither auto nor Jinja text; remove it to keep the base model's template"),
        ({"modules": {}}, "modules: FusionChat does not support this key of mergekit's; remove it"),
        ({"tokenizer": {"tokens": {}}}, "tokenizer.tokens: FusionChat does not support this key of mergekit's; remove it"),
        ({"tokenizer": {}, "tokenizer_source": "base"}, "tokenizer: use either `tokenizer_source` or `tokenizer`"),
        ({"models": ...}, GIVE_ONE),
        ({"slices": [{"sources": [ONE]}]}, GIVE_ONE),
        ({"models": []}, "models: needs at least one entry"),
        ({"models": 3}, "models: must be a list, not 3"),
        ({"models": ["a"]}, "models.0: write it as `model: a`"),
        ({"models": [3]}, "models.0: must be a mapping, not 3"),
        ({"models": [{}]}, "models.0.model: this key is missing"),
        ({"models": [{"model": "x", "weight": 1}]}, "models.0.weight: there is no such key"),
        ({"models": [ONE]}, "models.0.layer_range: there is no such key"),
        ({"models": [{"model": "x"}, {"model": "x"}]},
         "models: x is named twice: name it once, with the weight of both, or use two slices"),
        ({"models": [{"model": "a+b+c"}]}, "models.0.model: a model with an adapter is MODEL+ADAPTER"),
        ({"parameters": [1]}, "parameters: must be a mapping"),
        ({"parameters": {3: 1}}, "parameters.3: a name is text: write '3' in quotes"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_path(changes, line):
    assert said(**changes) == [line]


def test_a_method_that_is_not_there_may_be_misspelt():
    (line,) = said(merge_method="tise")
    assert line.startswith("merge_method: there is no method 'tise' (did you mean 'ties'?); there are ")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("much", ": must be a number, not 'much'"),
        (None, ": must be a number"),
        (float("inf"), ": must be a finite number, not inf"),
        ([], ": needs at least one entry"),
        ([0, "x"], ".1: must be a number, not 'x'"),
        ([True], ".0: must be a number, not true"),
        ([{"filtr": "a", "value": 1}], ".0.filtr: there is no such key (did you mean 'filter'?)"),
        ([{"filter": "a"}], ".0.value: this key is missing"),
        ({"filter": "a", "value": ["b"]}, ".0.value.0: must be a number, not 'b'"),
    ],
)
def test_what_is_no_setting_is_named_by_its_path(value, line):
    assert said(parameters={"t": value}) == [f"parameters.t{line}"]


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (3, "slices.0: must be a mapping, not 3"),
        ({}, "slices.0.sources: this key is missing"),
        ({"sources": []}, "slices.0.sources: needs at least one entry"),
        ({"sources": [ONE], "layers": 1}, "slices.0.layers: there is no such key"),
        ({"sources": [{"model": "x"}]}, "slices.0.sources.0.layer_range: this key is missing"),
        ({"sources": [{"model": "x", "layer_range": [2, 2]}]},
         "slices.0.sources.0.layer_range: a layer range is [first, end), at least one layer, not [2, 2]"),
        ({"sources": [ONE, {"model": "y", "layer_range": [0, 3]}]},
         "slices.0.sources: the sources have different numbers of layers; make them equal"),
        ({"sources": [ONE, ONE]},
         "slices.0.sources: x is named twice: name it once, with the weight of both, or use two slices"),
    ],
)  # fmt: skip
def test_what_is_no_slice_is_named_by_its_path(part, line):
    assert said(models=..., slices=[part]) == [line]


def test_all_mistakes_are_said_at_once():
    assert len(said(models=["a", {"model": 3}], dtyp=1, parameters={"t": "x"})) == 4


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("a", "a"),
        ({"path": "a"}, "a"),
        ({"path": "a", "revision": "r"}, "a@r"),
        ({"path": "a", "revision": None}, "a"),
        ({"model": {"path": "a", "revision": "r"}, "lora": {"path": "b"}}, "a@r+b"),
        ({"model": "a", "lora": None}, "a"),
    ],
)
def test_a_model_is_read_in_all_of_mergekit_s_ways(value, meant):
    assert str(REFERENCE.validate_python(value)) == meant


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (3, ": must be text, not 3"),
        (["a"], ": must be text"),
        ({"path": 3}, ".path: must be text, not 3"),
        ({"path": "a", "revision": 3}, ".revision: must be text, not 3"),
        ({"lora": "b"}, ".model: this key is missing"),
        ({"model": {"path": "a", "branch": "r"}}, ".model.branch: there is no such key"),
    ],
)
def test_what_is_no_model_is_named_by_its_path(value, line):
    assert said(models=[{"model": value}]) == [f"models.0.model{line}"]


def test_a_plus_sign_in_a_folder_s_name_is_no_adapter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c+").mkdir()
    assert parts("c+") == ("c+", None) and parts("base+lora") == ("lora", "base")
    for wrong in ("+lora", "base+", "a+b+c"):
        with pytest.raises(ValueError, match=r"MODEL\+ADAPTER"):
            parts(wrong)
