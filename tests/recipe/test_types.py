"""Types in a recipe are strict, and a mapping without a method is for the default one: in the file and with `--set` alike."""

import re
from typing import Literal, get_args, get_origin

import pytest

from fusionchat import mistakes
from fusionchat.errors import RecipeError
from fusionchat.merge.methods import METHODS
from fusionchat.mistakes import Wrong
from fusionchat.recipe.schema import Recipe, load_recipe, merge_method
from fusionchat.recipe.set import KINDS, METHOD, alternatives, below, keys
from fusionchat.recipe.types import prepare

TEXT = """
name: strict
pivot: models/pivot
sources: {qwen: models/qwen}
corpus: train.jsonl
"""


def load(tmp_path, text="", *settings):
    base = TEXT.replace("corpus: train.jsonl", "corpus: {train: train.jsonl}")
    (tmp_path / "recipe.yaml").write_text(base + text)
    return load_recipe(tmp_path / "recipe.yaml", settings)


def scalars(kinds):
    """The names of the types of values that may be at a place, beside None."""
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    return {kind.__name__ for kind in kinds if kind in (int, float, bool, str)} | {
        type(w).__name__ for w in words
    }


def places(kinds=(Recipe,), at=(), seen=()):
    """Every path of a recipe with the types of values that may be there."""
    found = []
    for kind in kinds:
        if get_origin(kind) in (tuple, list):
            found += places(tuple(below([kind], "0")[0]), (*at, "0"), seen)
        elif get_origin(kind) is dict:
            found += places(tuple(below([kind], "x")[0]), (*at, "qwen"), seen)
        for name in keys(kind):
            if kind not in seen and not set(KINDS) & keys(kind).keys():
                found += places(tuple(below([kind], name)[0]), (*at, name), (*seen, kind))
    return [*found, (".".join(at), scalars(kinds))] if scalars(kinds) else found


PLACES = {path: kinds for path, kinds in places() if path != "folder"}
NUMBERS = [path for path, kinds in PLACES.items() if kinds & {"int", "float"}]
SWITCHES = [path for path, kinds in PLACES.items() if kinds == {"bool"}]
TEXTS = [path for path, kinds in PLACES.items() if kinds == {"str"}]


def test_the_walk_finds_the_keys():
    assert len(NUMBERS) > 25 and len(SWITCHES) > 5 and len(TEXTS) > 15
    assert {
        "represent.k",
        "distill.sweep.0",
        "search.minutes",
        "evaluate.exact_match.limit",
        "align.min_mass",
    } <= set(NUMBERS)


@pytest.fixture
def not_refused(tmp_path, monkeypatch):
    """A function that gives the paths among some that no message names where they have a value that they may not have.

    All have it at once, which takes a hundredth of the time; those that others hide (``corpus.train.0.limit`` hides
    ``corpus.train.limit``) have it again without them, and alone in the end.
    """
    monkeypatch.setattr(mistakes, "SHOWN_MISTAKES", 1000)

    def named(paths, value, words):
        try:
            load(tmp_path, "", *(f"{path}={value}" for path in paths))
        except RecipeError as error:
            text = "\n".join(line.split("--set")[0] for line in str(error).splitlines())
            return {path for path in paths if re.search(rf"(^|\s){path}: {words}", text)}
        return set()

    def get(paths, value, words):
        left = list(paths)
        while found := named(left, value, words):
            left = [path for path in left if path not in found]
        return [path for path in left if not named([path], value, words)]

    return get


@pytest.mark.parametrize("value", ["true", "false", "yes", '"5"', "1e999", "2020-01-01"])
def test_what_is_no_number_is_refused_with_its_path(not_refused, value):
    files = ("corpus.validation", "corpus.test") if value in ("yes", '"5"', "2020-01-01") else ()
    paths = [path for path in NUMBERS if not PLACES[path] & {"str"} and path not in files]
    assert not_refused(paths, value, "must be a (whole )?number, not") == []


@pytest.mark.parametrize("value", ["1", "0", "yes", "on", '"true"'])
def test_what_is_not_true_or_false_is_refused_with_its_path(not_refused, value):
    assert not_refused(SWITCHES, value, "must be true or false, not") == []


@pytest.mark.parametrize("value", ["1", "true", "0.5"])
def test_what_is_no_text_is_refused_with_its_path(not_refused, value):
    assert not_refused(TEXTS, value, "must be ") == []


def test_a_value_that_is_allowed_is_not_refused(not_refused):
    """That the three tests before it can fail."""
    assert not_refused(["seed", "represent.k"], "true", "must be true") == ["seed", "represent.k"]
    assert not_refused(["represent.k", "seed", "fuse.per"], "3", "must be ") == ["represent.k", "seed"]


SETTINGS = [
    (method, name)
    for method, kind in METHODS.items()
    for name, (annotation, _) in keys(kind).items()
    if name != METHOD and scalars(alternatives(annotation)) & {"int", "float"}
]


@pytest.mark.parametrize(("method", "name"), SETTINGS)
@pytest.mark.parametrize("value", ["true", '"1"'])
def test_settings_of_every_merge_method_are_strict(tmp_path, method, name, value):
    with pytest.raises(RecipeError, match=rf"merge\.{name}: must be a"):
        load(tmp_path, f"merge: {{method: {method}, {name}: {value}}}")
    with pytest.raises(RecipeError, match=rf"  {name}: must be a"):
        merge_method(method, (f"{name}={value}",))
    with pytest.raises(RecipeError, match=rf"search\.candidates\.1\.{name}: must be a"):
        load(tmp_path, f"search: {{candidates: [linear, {{method: {method}, {name}: {value}}}]}}")


@pytest.mark.parametrize(
    ("backend", "key", "value"),
    [
        ("endpoint", "concurrency", "true"),
        ("endpoint", "url", "5"),
        ("vllm", "python", "5"),
        ("vllm", "memory", '"1"'),
        ("transformers", "probe_bound", "true"),
    ],
)
def test_settings_of_every_backend_are_strict(tmp_path, backend, key, value):
    with pytest.raises(RecipeError, match=rf"pivot\.capture\.{key}: must be "):
        load(tmp_path, "", f"pivot.capture.backend={backend}", f"pivot.capture.{key}={value}")


def test_a_mapping_without_a_backend_is_for_the_default_one(tmp_path):
    with pytest.raises(RecipeError, match=r"pivot\.capture\.url: there is no such key"):
        load(tmp_path, "", "pivot.capture.url=http://h:1")


def test_numbers_that_are_whole_are_whole_numbers(tmp_path):
    recipe = load(tmp_path, "distill: {batch_size: 1e2, epochs: 2, learning_rate: 1}\nrepresent: {k: 5.0}")
    assert (recipe.distill.batch_size, recipe.represent.k, recipe.distill.learning_rate) == (100, 5, 1.0)
    with pytest.raises(RecipeError, match=r"represent.k: must be a whole number, not 5.5"):
        load(tmp_path, "represent: {k: 5.5}")


def test_all_mistakes_are_said_at_once(tmp_path):
    with pytest.raises(RecipeError) as caught:
        load(
            tmp_path,
            "seed: true\nrepresent: {k: yes}\ndistill: {epochs: -1, sweep: [true, 0.1]}\nmerge: {powr: 1}",
        )
    text = str(caught.value)
    for path in ("seed", "represent.k", "distill.epochs", "distill.sweep.0", "merge.powr"):
        assert f"  {path}: " in text
    assert "instance" not in text and "tuple" not in text


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("merge: {granularity: layer}", "merge.granularity=layer"),
        ("merge: {power: 2}", "merge.power=2"),
        ("fuse: {per: turn}", "fuse.per=turn"),
        ("fuse: {unit: nats_per_token}", "fuse.unit=nats_per_token"),
        ("align: {vocabulary: {}}", "align.vocabulary.method=byte_prefix"),
        ("merge: {}", "merge.method=varm"),
    ],
)
def test_a_mapping_without_a_method_is_for_the_default_one(tmp_path, text, setting):
    assert load(tmp_path, text) == load(tmp_path, "", setting)


def test_where_there_is_no_default_a_method_has_to_be_named(tmp_path):
    with pytest.raises(RecipeError, match="say which method it is for"):
        load(tmp_path, "search: {candidates: [{power: 2}]}")
    with pytest.raises(RecipeError, match=r"merge.density: there is no such key"):
        load(tmp_path, "merge: {density: 0.5}")


def test_a_marked_value_keeps_its_place():
    assert prepare({"represent": {"k": True}, "seed": 3}, [Recipe]) == {
        "represent": {"k": Wrong(True)},
        "seed": 3,
    }
