"""The recipe: what is accepted, and what a mistake is told like."""

import pytest

from fusionchat.errors import RecipeError
from fusionchat.fuse.rules.mean_ce import MeanCE
from fusionchat.recipe.schema import load_recipe, merge_method

BASE = """
name: x
pivot: P
sources: {a: A}
corpus: {train: t.jsonl}
"""


def load(tmp_path, extra="", *settings, base=BASE):
    path = tmp_path / "r.yaml"
    path.write_text(base + extra)
    return load_recipe(path, settings)


def test_short_forms_and_defaults(tmp_path):
    recipe = load(tmp_path, "merge: linear\nfuse: mean_ce\n")
    assert recipe.pivot.model == "P" and recipe.sources["a"].template == "own"
    assert recipe.merge.method == "linear" and recipe.fuse == MeanCE()
    assert recipe.distill.label_weight == 0.9 and recipe.represent.k == 10
    assert recipe.folder == str(tmp_path)


def test_numbers_with_exponents_are_numbers(tmp_path):
    recipe = load(tmp_path, "distill: {learning_rate: 5e-6, epochs: 1}\n")
    assert recipe.distill.learning_rate == 5e-6 and recipe.distill.epochs == 1.0


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("distil: {}\n", ["distil", "no such key", "distill"]),
        ("distill: {label_wieght: 0.5}\n", ["distill.label_wieght", "no such key", "label_weight"]),
        ("distill: {label_weight: 2}\n", ["distill.label_weight", "must be at most 1, not 2"]),
        ("merge: {method: varm, granularity: row}\n", ["merge.granularity"]),
        ("merge: {method: varm, densty: 1}\n", ["merge.densty", "no such key"]),
        ("merge: vram\n", ["merge: there is no method 'vram' (did you mean 'varm'?)", "task_arithmetic"]),
        ("compare: {merges: [{granularity: layer}]}\n", ["compare.merges.0: say which method"]),
        ("fuse: {method: route, map: {maths: b}}\n", ["fuse.map.maths: there is no model 'b'", "pivot, a"]),
        ("fuse: {temperatures: {b: 2}}\n", ["fuse.temperatures.b: there is no model 'b'", "pivot, a"]),
        ("fuse: {temperatures: {a: 0}}\n", ["fuse: temperatures.a must be greater than 0"]),
        ("fuse: {method: route}\n", ["fuse.map: this key is missing"]),
        ("fuse: {method: route, map: {}}\n", ["fuse: map must name a source"]),
        ("fuse: {method: route, map: {a: a}, per: turn}\n", ["fuse.per: there is no such key"]),
        ("compare: {merges: [vram]}\n", ["compare.merges.0", "'varm'"]),
        ("align: {vocabulary: exakt}\n", ["no method 'exakt'", "'exact'", "byte_prefix"]),
        ("corpus2: {}\n", ["'corpus'"]),
        ("distill: {epochs: two}\n", ["distill.epochs: must be a number, not 'two'"]),
        ("align: {vocabulary: {method: exct}}\n", ["  align.vocabulary: there is no method 'exct'"]),
        ("represent: {k: 2.5}\n", ["represent.k: must be a whole number, not 2.5"]),
        ("search: 3\n", ["search: must be a mapping, not 3"]),
        ("search: {metric: exact_match}\n", ["search.metric: exact_match needs evaluate.exact_match"]),
        (
            "search: {metric: exact_macth}\n",
            ["search.metric: there is no metric", "did you mean 'exact_match'"],
        ),
        ("runtime: {device: gpu}\n", ["runtime.device", "cuda:N", "'gpu'"]),
        ("runtime: {merge_device: cpu}\n", ["runtime: `merge_device` was removed", "delete it"]),
        ("fuse: {method: mean_ce, temperature: 0}\n", ["fuse", "temperature"]),
        ("represent: {k: ten}\n", ["represent.k", "whole number"]),
        ("evaluate: {exact_match: {answer_pattern: '('}}\n", ["answer_pattern", "regular expression"]),
        ("name: y\n", ["'name' is given twice", "line 6"]),
        ("x: [1\n", ["not YAML", "line"]),
        ("folder: z\n", ["folder"]),
    ],
)
def test_mistakes_name_their_yaml_path(tmp_path, extra, words):
    with pytest.raises(RecipeError) as error:
        load(tmp_path, extra)
    for word in words:
        assert word in str(error.value)


def test_a_share_and_a_name_that_cannot_be(tmp_path):
    with pytest.raises(RecipeError, match=r"test: a share must be more than 0 and less than 0.5, not 0.5"):
        load(tmp_path, "", "corpus.test=0.5")
    path = tmp_path / "r.yaml"
    path.write_text("name: x\npivot: p\nsources: {1: q}\ncorpus: {train: x.jsonl}\n")
    with pytest.raises(RecipeError, match=r"  sources.1: a name is text: write '1' in quotes"):
        load_recipe(path)


def test_a_mistake_in_one_kind_of_a_union_says_nothing_of_the_others(tmp_path):
    with pytest.raises(RecipeError) as error:
        load(tmp_path, "align: {vocabulary: {method: exact, loose: true}}\n")
    assert str(error.value).count("no such key") == 1 and "min_edit" not in str(error.value)


def test_only_keys_of_the_same_place_are_suggested(tmp_path):
    with pytest.raises(RecipeError) as error:
        load(tmp_path, "", "sources.a.nam=3")
    assert "sources.a.nam" in str(error.value) and "did you mean" not in str(error.value)
    assert "--set sources.a.nam=3" in str(error.value)
    with pytest.raises(RecipeError, match="'density'"):
        load(tmp_path, "merge: {method: ties, densty: 0.5}\n")


def test_a_file_that_is_no_recipe_gets_a_short_answer(tmp_path):
    with pytest.raises(RecipeError) as error:
        load(tmp_path, "".join(f"key{i}: 1\n" for i in range(40)))
    assert "and 32 more" in str(error.value) and len(str(error.value).splitlines()) < 15
    with pytest.raises(RecipeError, match="folder, not a recipe"):
        load_recipe(tmp_path)


def test_all_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(RecipeError) as error:
        load(tmp_path, "represent: {k: 0}\ndistill: {epochs: -1}\n")
    assert "represent.k" in str(error.value) and "distill.epochs" in str(error.value)


@pytest.mark.parametrize("name", ["pivot", "sft", "all", "a/b", ""])
def test_names_that_would_clash_are_refused(tmp_path, name):
    with pytest.raises(RecipeError):
        load(tmp_path, base=BASE.replace("{a: A}", f"{{'{name}': A}}"))


def test_settings_go_over_the_file(tmp_path):
    recipe = load(
        tmp_path, "", "distill.label_weight=0.5", "pivot.template=t.jinja", "merge.method=linear", "seed=7"
    )
    assert recipe.distill.label_weight == 0.5 and recipe.seed == 7
    assert recipe.pivot.model == "P" and recipe.pivot.template == "t.jinja"
    assert load(tmp_path, "merge: varm\n", "merge.granularity=layer").merge.granularity == "layer"
    varm = "merge: {method: varm, granularity: layer}\n"
    assert load(tmp_path, varm, "merge.method=linear").merge.method == "linear"


@pytest.mark.parametrize("setting", ["seed", "=3", "seed.x=3", "seed=[1"])
def test_broken_settings_are_refused(tmp_path, setting):
    with pytest.raises(RecipeError):
        load(tmp_path, "seed: 1\n", setting)


def test_missing_empty_and_binary_recipes(tmp_path):
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "e.yaml").write_text("")
    with pytest.raises(RecipeError, match="mapping"):
        load_recipe(tmp_path / "e.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "b.yaml")


def test_a_merge_method_from_the_command_line():
    assert merge_method("varm", ("granularity=layer", "power=2")).power == 2
    with pytest.raises(RecipeError):
        merge_method("varm", ("granularity=row",))
    with pytest.raises(RecipeError):
        merge_method("none", ())


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("merge: model_stock\n", ["merge: Method model_stock needs 2 or more targets, not 1"]),
        (
            "merge: {method: linear, weight: [1, 2]}\n",
            ["merge: Method linear has 2 values of `weight` for 1"],
        ),
        (
            "merge: {method: fisher, fisher: [A, B]}\n",
            ["merge: Method fisher needs 1 folder, one per target, not 2"],
        ),
        ("merge: fisher\n", ["merge: Method fisher needs 1 folder, one per target, not 0"]),
        (
            "compare: {merges: [linear, nuslerp, {method: ties, density: [1, 1]}]}\n",
            ["compare.merges.1: Method nuslerp", "compare.merges.2: Method ties has 2"],
        ),
    ],
)
def test_merges_that_do_not_take_so_many_sources_are_refused(tmp_path, extra, words):
    with pytest.raises(RecipeError) as error:
        load(tmp_path, extra)
    for word in words:
        assert word in str(error.value)


def test_a_search_s_candidates_may_not_fit_they_become_failed_trials(tmp_path):
    recipe = load(tmp_path, "search: {candidates: [model_stock]}\nmerge: {method: linear, weight: [1]}\n")
    assert recipe.search.candidates[0].method == "model_stock"


@pytest.mark.parametrize(
    "names", [("Pivot",), ("SFT",), ("qwen", "Qwen"), ("a@b",), ("x" * 101,), ("-a",), ("a b",)]
)
def test_names_that_no_folder_can_keep_apart_are_refused(tmp_path, names):
    sources = ", ".join(f"'{name}': A" for name in names)
    with pytest.raises(RecipeError, match="sources"):
        load(tmp_path, base=BASE.replace("{a: A}", f"{{{sources}}}"))


def test_thoughts_that_the_corpus_drops_no_model_can_keep(tmp_path):
    assert load(tmp_path).corpus.thinking == "keep"
    assert load(tmp_path, "", "sources.a.thinking=drop").sources["a"].thinking == "drop"
    load(tmp_path, "", "corpus.thinking=drop", "pivot.thinking=drop")
    with pytest.raises(RecipeError, match=r"a cannot keep thoughts that corpus\.thinking drops"):
        load(tmp_path, "", "corpus.thinking=drop", "sources.a.thinking=keep")
    with pytest.raises(RecipeError, match="thinking"):
        load(tmp_path, "", "corpus.thinking=maybe")


def test_variables_of_a_template_are_json(tmp_path):
    given = "{a: false, b: 1, c: 0.5, d: text, e: null, f: [1, {g: true}], h: {i: 2.5}}"
    recipe = load(tmp_path, "", f"pivot.template_variables={given}", "sources.a.template_variables.x=3")
    assert recipe.pivot.template_variables == {
        "a": False, "b": 1, "c": 0.5, "d": "text", "e": None, "f": [1, {"g": True}], "h": {"i": 2.5},
    }  # fmt: skip
    assert recipe.sources["a"].template_variables == {"x": 3}
    for wrong, words in (
        ("{messages: []}", "pivot.template_variables: 'messages' cannot be set"),
        ("{x: .nan}", "pivot.template_variables.x"),
        ("[x]", "pivot.template_variables: must be a mapping"),
    ):
        with pytest.raises(RecipeError, match=words):
            load(tmp_path, "", f"pivot.template_variables={wrong}")


def test_rounds_by_a_number_or_by_their_settings(tmp_path):
    assert load(tmp_path, "rounds: 2").rounds.n == 2
    assert load(tmp_path, "rounds: {n: 3, share: 1}").rounds.share == 1
    recipe = load_recipe(tmp_path / "r.yaml", ["rounds=2", "rounds.share=0.25"])
    assert (recipe.rounds.n, recipe.rounds.share) == (2, 0.25)
    with pytest.raises(RecipeError, match="rounds"):
        load(tmp_path, "rounds: true")


def test_one_round_is_not_written_so_that_finished_runs_stay_done(tmp_path):
    assert "rounds" not in load(tmp_path, "rounds: 1").model_dump()
    assert load(tmp_path, "rounds: 2").model_dump()["rounds"]["n"] == 2


def test_no_source_has_the_name_of_a_round_s_folder(tmp_path):
    base = BASE.replace("a: A", "Round2: A")
    assert "Round2" in load(tmp_path, base=base).sources
    with pytest.raises(RecipeError, match="Round2"):
        load(tmp_path, "rounds: 2", base=base)
