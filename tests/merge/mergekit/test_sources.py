"""The models and slices of mergekit's files, and what is refused by its place."""

import pytest

from fusionchat.errors import RecipeError
from fusionchat.merge.mergekit.rules import Rule
from fusionchat.merge.mergekit.sources import Slice, Source, reference_of, slices_of


def test_models_are_one_slice_of_whole_models():
    (part,) = slices_of({"models": [{"model": "a"}, {"model": "b", "parameters": {"weight": 0.5}}]})
    assert part.models == ["a", "b"] and part.layers == 0 and part.rules == {}
    assert part.sources[1] == Source("b", None, None, {"weight": Rule(0.5, "models[1].parameters.weight")})


def test_slices_have_layers_and_settings():
    first, second = slices_of({
        "slices": [
            {"sources": [{"model": "a", "layer_range": [0, 4]}, {"model": "b", "layer_range": [2, 6]}],
             "parameters": {"t": 0.3}},
            {"sources": [{"model": "a", "layer_range": [4, 5]}]},
        ]
    })  # fmt: skip
    assert (first.models, first.layers, second.layers) == (["a", "b"], 4, 1)
    assert first.sources[1].span == (2, 6) and first.rules == {"t": Rule(0.3, "slices[0].parameters.t")}


def test_an_adapter_is_written_behind_its_model(tmp_path, monkeypatch):
    (part,) = slices_of({"models": [{"model": "base+lora"}]})
    assert part.sources[0][:2] == ("lora", "base")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c+").mkdir()
    assert slices_of({"models": [{"model": "c+"}]})[0].models == ["c+"]  # a folder of that name
    for wrong in ("+lora", "base+", "a+b+c"):
        with pytest.raises(RecipeError, match=r"MODEL\+ADAPTER"):
            slices_of({"models": [{"model": wrong}]})


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
    assert reference_of(value, "x") == meant


@pytest.mark.parametrize("value", [None, 3, ["a"], {"path": 3}, {"path": "a", "revision": 3}, {"lora": "b"}])
def test_what_is_no_model_is_named_by_its_place(value):
    with pytest.raises(RecipeError, match="A model must be a folder or a hub id") as caught:
        reference_of(value, "models[0].model")
    assert caught.value.where == "models[0].model"


ONE = {"model": "a", "layer_range": [0, 2]}


@pytest.mark.parametrize(
    ("top", "words", "where"),
    [
        ({}, "either models or slices", "models"),
        ({"models": [{"model": "a"}], "slices": [{"sources": [ONE]}]}, "either models or slices", "models"),
        ({"models": []}, "at least one entry", "models"),
        ({"models": ["a"]}, "plain string", "models[0]"),
        ({"models": [3]}, "An entry must be a mapping", "models[0]"),
        ({"models": [ONE]}, "unknown", "models[0].layer_range"),
        ({"models": [{"model": "a"}, {"model": "a"}]}, "a is named twice", "models"),
        ({"slices": [3]}, "A slice must be a mapping", "slices[0]"),
        ({"slices": [{"sources": [ONE], "layers": 1}]}, "unknown", "slices[0].layers"),
        ({"slices": [{}]}, "at least one entry", "slices[0].sources"),
        ({"slices": [{"sources": [{"model": "a"}]}]}, "A layer range", "slices[0].sources[0].layer_range"),
        ({"slices": [{"sources": [{"model": "a", "layer_range": [2, 2]}]}]}, "range", "slices[0].sources[0].layer_range"),
        ({"slices": [{"sources": [ONE, {"model": "b", "layer_range": [0, 3]}]}]}, "different numbers", "slices[0]"),
        ({"slices": [{"sources": [ONE, {"model": "a", "layer_range": [1, 3]}]}]}, "named twice", "slices[0].sources"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_by_its_place(top, words, where):
    with pytest.raises(RecipeError, match=words) as caught:
        slices_of(top)
    assert caught.value.where == where


def test_a_slice_counts_its_layers():
    assert Slice([Source("a", None, (3, 8), {})], {}).layers == 5
