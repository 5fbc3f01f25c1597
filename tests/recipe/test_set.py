"""`--set`: it reaches every key, also below what the recipe leaves out or gives in short."""

import pytest

from fusionchat.errors import RecipeError
from fusionchat.recipe.schema import Recipe, load_recipe, merge_method
from fusionchat.recipe.set import apply_settings

BASE = """
name: x
pivot: P
sources: {a: A, qwen2.5: Q}
corpus: {train: t.jsonl}
"""


def load(tmp_path, *settings, extra=""):
    (tmp_path / "r.yaml").write_text(BASE + extra)
    return load_recipe(tmp_path / "r.yaml", settings)


def value(recipe, path):
    for name in path.split("."):
        recipe = recipe[int(name)] if isinstance(recipe, tuple) else (
            recipe[name] if isinstance(recipe, dict) else getattr(recipe, name)
        )  # fmt: skip
    return recipe


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        # a method that the recipe leaves at its default
        ("merge.granularity=layer", "layer"),
        ("merge.power=2", 2.0),
        ("fuse.per=turn", "turn"),
        ("fuse.unit=nats_per_token", "nats_per_token"),
        ("fuse.temperatures.a=1.5", 1.5),
        ("align.min_mass=0.2", 0.2),
        ("align.vocabulary.method=exact", "exact"),
        # a part that the recipe leaves out
        ("search.minutes=5", 5.0),
        ("search.metric=bits_per_byte", "bits_per_byte"),
        ("evaluate.exact_match.max_new_tokens=5", 5),
        ("evaluate.dtype=float32", "float32"),
        ("runtime.threads=3", 3),
        # short forms
        ("pivot.revision=main", "main"),
        ("sources.a.template=pivot", "pivot"),
        ("corpus.train.limit=5", 5),
        ("corpus.train.split=test", "test"),
        ("corpus.train.domain.column=topic", "topic"),
        ("corpus.train.columns.prompt=problem", "problem"),
        ("corpus.train.filter.level=5", 5),
        ("corpus.train.0.limit=100", 100),  # one entry is the first of a list
        ("corpus.train.1.path=more.jsonl", "more.jsonl"),
        ("corpus.test.0.path=t.jsonl", "t.jsonl"),
        # lists, from nothing
        ("distill.sweep.0=0.3", 0.3),
        ("compare.merges.0.method=ties", "ties"),
        ("compare.merges.0.method=linear", "linear"),
        ("search.candidates.0.method=linear", "linear"),
    ],
)
def test_a_setting_reaches_its_key(tmp_path, setting, expected):
    path = setting.partition("=")[0]
    assert value(load(tmp_path, setting), path) == expected


def test_lists_whole_and_by_entry(tmp_path):
    merges = "compare: {merges: [ties, {method: linear}]}\n"
    assert [m.method for m in load(tmp_path, "compare.merges=[linear, ties]").compare.merges] == [
        "linear",
        "ties",
    ]
    recipe = load(tmp_path, "compare.merges.0.density=0.3", "compare.merges.2=karcher", extra=merges)
    assert [m.method for m in recipe.compare.merges] == ["ties", "linear", "karcher"]
    assert recipe.compare.merges[0].density == 0.3
    recipe = load(tmp_path, "compare.merges.1.method=varm", "compare.merges.1.power=2", extra=merges)
    assert recipe.compare.merges[1].power == 2
    assert load(tmp_path, "distill.sweep.1=0.4", extra="distill: {sweep: [0.3]}\n").distill.sweep == (
        0.3,
        0.4,
    )


def test_entries_of_a_corpus_whole_and_one_by_one(tmp_path):
    def train(*settings, given="train.jsonl"):
        entries = load(tmp_path, f"corpus.train={given}", *settings).corpus.entries("train")
        return {place: (entry.path, entry.limit) for place, entry in entries.items()}

    several = "[a.jsonl, {path: b.jsonl, limit: 2}]"
    assert train("corpus.train=file.jsonl", given=several) == {"train": ("file.jsonl", None)}
    assert train("corpus.train=[c.jsonl]", given=several) == {"train.0": ("c.jsonl", None)}
    assert train("corpus.train.0.limit=100", given=several) == {
        "train.0": ("a.jsonl", 100), "train.1": ("b.jsonl", 2),
    }  # fmt: skip
    assert train("corpus.train.2=c.jsonl", given=several)["train.2"] == ("c.jsonl", None)
    assert train("corpus.train.1=c.jsonl") == {"train.0": ("train.jsonl", None), "train.1": ("c.jsonl", None)}
    assert train("corpus.train.0=c.jsonl", given="{path: b.jsonl, limit: 2}") == {
        "train.0": ("c.jsonl", None)
    }
    with pytest.raises(RecipeError, match=r"corpus\.train is a list, but has no entry 'limit'"):
        train("corpus.train.limit=3", given=several)
    with pytest.raises(RecipeError, match=r"corpus\.train\.1: `limit` takes the first"):
        train("corpus.train.1.share=0.5", given=several)
    with pytest.raises(RecipeError, match=r"corpus\.train\.0\.lmit: there is no such key"):
        train("corpus.train.0.lmit=3", given=several)


def test_a_source_s_name_may_hold_dots(tmp_path):
    recipe = load(tmp_path, "sources.qwen2.5.template=pivot", "sources.phi3.5.model=F", "sources.b1.1=G")
    assert recipe.sources["qwen2.5"].model == "Q" and recipe.sources["qwen2.5"].template == "pivot"
    assert recipe.sources["phi3.5"].model == "F" and recipe.sources["b1.1"].model == "G"


def test_the_last_name_is_of_a_mapping_in_a_mapping(tmp_path):
    recipe = load(tmp_path, "runtime.ray.resources.represent/qwen2.5.big_gpu=2")
    assert recipe.runtime.ray.resources == {"represent/qwen2.5": {"big_gpu": 2.0}}


def test_a_method_is_put_in_place_before_its_settings(tmp_path):
    for settings in [("merge.method=ties", "merge.density=0.3"), ("merge.density=0.3", "merge.method=ties")]:
        recipe = load(tmp_path, *settings)
        assert (recipe.merge.method, recipe.merge.density) == ("ties", 0.3)
    kept = load(tmp_path, "merge.method=varm", extra="merge: {method: varm, granularity: layer}\n")
    assert kept.merge.granularity == "layer"
    other = load(tmp_path, "merge.method=varm", extra="merge: {method: ties, density: 0.3}\n")
    assert other.merge.method == "varm"


@pytest.mark.parametrize("part", ["search:\n", "align:\n", "compare:\n", "merge:\n"])
def test_a_key_that_is_there_without_a_value(tmp_path, part):
    key = {"search": "minutes=5", "align": "min_mass=0.3", "compare": "sft=false", "merge": "power=2"}
    name = part.partition(":")[0]
    setting = f"{name}.{key[name]}"
    assert value(load(tmp_path, setting, extra=part), setting.partition("=")[0]) is not None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("seed.x=3", ["seed is 1, and nothing can be set below it"]),
        ("corpus.validation.limit=3", ["corpus.validation is 0.1"]),
        ("distill.sweep.x=3", ["distill.sweep is a list", "'x'"]),
        ("distill.sweep.7=3", ["no entry '7'", "0 to 1"]),
        ("compare.merges=linear", ["compare.merges: must be a list, not 'linear'"]),
        ("merge.density=3", ["merge.density", "no such key"]),
        ("sources.a.nam=3", ["sources.a.nam", "no such key"]),
        ("distil.epochs=3", ["distil", "distill"]),
        ("seed", ["path.to.key=value"]),
        ("seed=[1", ["not YAML", "--set seed=[1"]),
    ],
)
def test_settings_that_lead_nowhere(tmp_path, setting, words):
    extra = "seed: 1\ndistill: {sweep: [0.3]}\n"
    with pytest.raises(RecipeError) as error:
        load(tmp_path, "corpus.validation=0.1", setting, extra=extra)
    for word in words:
        assert word in str(error.value)


def test_settings_of_a_stand_alone_merge(tmp_path):
    assert merge_method("varm", ("granularity=layer", "power=2")).granularity == "layer"
    made = merge_method("linear", ("weight=[1, 2]", "weight.0=3"))
    assert made.weight == (3, 2)


def test_a_backend_is_put_in_place_before_its_settings_and_takes_the_place_of_another():
    tree = {"pivot": {"model": "p", "capture": {"backend": "vllm", "python": "x"}}}
    settings = ("pivot.capture.url=http://h:1", "pivot.capture.backend=endpoint")
    apply_settings(tree, settings, Recipe)
    assert tree["pivot"]["capture"] == {"backend": "endpoint", "url": "http://h:1"}
