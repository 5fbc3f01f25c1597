"""mergekit's configurations: what they mean here, and what is refused by its place."""

import json

import numpy as np
import pytest
import torch

from fusionchat.errors import RecipeError
from fusionchat.merge.inputs.layers.stack import depths
from fusionchat.merge.inputs.references import name_targets
from fusionchat.merge.mergekit.config import load_mergekit
from fusionchat.merge.methods.breadcrumbs import Breadcrumbs
from fusionchat.merge.methods.dare import DareLinear
from fusionchat.merge.methods.della import Della
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.sce import Sce
from fusionchat.merge.methods.spherical import Multislerp, Slerp
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.standalone import (
    Settings,
    plan_mergekit,
    run_mergekit,
)
from tests.merge.folders import SHAPES, adapter, family, load
from tests.merge.mergekit.files import models, written
from tests.reference import merge as reference


def test_methods_become_ours_with_mergekits_defaults(tmp_path):
    both = models(("base", None), ("x", {"weight": 0.3}), ("y", {"weight": 0.7, "density": 0.5}))
    job = load_mergekit(
        written(tmp_path, {"merge_method": "ties", "base_model": "base", "models": both, "dtype": "float16"})
    )
    assert (job.pivot, job.targets, job.dtype) == ("base", {"x": "x", "y": "y"}, "float16")
    assert job.method == Ties(weight=(0.3, 0.7), density=(1.0, 0.5), normalize=True)
    plain = models(("x", {"weight": 1}), ("y", {"weight": 2}))

    def method(name, given=plain, **parameters):
        value = {"merge_method": name, "models": given, "base_model": "base", "parameters": parameters}
        return load_mergekit(written(tmp_path, value)).method

    assert method("linear") == Linear(weight=(1.0, 2.0))
    arithmetic = TaskArithmetic(weight=(1.0, 2.0), scale=5e-6, normalize=True)
    assert method("task_arithmetic", **{"lambda": "5e-6", "normalize": True, "int8_mask": True}) == arithmetic
    assert method("dare_linear", density=0.4) == DareLinear(weight=(1.0, 2.0), density=(0.4, 0.4))
    della = Della(
        weight=(1.0, 2.0), density=(0.4, 0.4), epsilon=(0.1, 0.1), elect_sign=False, normalize=False
    )
    assert method("della_linear", density=0.4, epsilon=0.1, normalize=False) == della
    crumbs = Breadcrumbs(weight=(1.0, 2.0), density=(0.8, 0.8), gamma=(0.01, 0.01), elect_sign=True)
    assert method("breadcrumbs_ties", density=0.8) == crumbs
    bare = models(("x", None), ("y", None))
    assert method("sce", bare) == Sce(select_topk=1.0)
    assert method("multislerp", bare).origin == "pivot"
    assert method("slerp", models(("base", None), ("x", None)), t=0.2) == Slerp(t=0.2)
    free = load_mergekit(written(tmp_path, {"merge_method": "multislerp", "models": plain}))
    assert (free.pivot, free.method) == ("x", Multislerp(weight=(1.0, 2.0), origin="zero"))


def test_gradients_and_filters_follow_layers_and_names(tmp_path):
    pivot, targets = family(tmp_path, 1)
    value = {
        "merge_method": "slerp",
        "base_model": str(pivot),
        "models": models((str(pivot), None), (str(targets["t0"]), None)),
        "parameters": {
            "t": [
                {"filter": "self_attn", "value": [0, 1]},
                {"filter": "mlp", "value": [0.2, 0.4, 0.8]},
                {"value": 0.5},
            ]
        },
    }
    job, places = load_mergekit(written(tmp_path, value)), depths(SHAPES, None)
    expected = {
        "model.layers.0.self_attn.q_proj.weight": 0.0, "model.layers.1.self_attn.q_proj.weight": 1.0,
        "model.layers.0.mlp.up_proj.weight": 0.2, "model.layers.1.mlp.up_proj.weight": 0.8,
        "model.layers.0.input_layernorm.weight": 0.5, "lm_head.weight": 0.5,
    }  # fmt: skip
    assert {name: job.method_of(name, places[name]).t for name in expected} == pytest.approx(expected)
    report = run_mergekit(
        tmp_path / "merge.yaml", tmp_path / "out", settings=Settings(dtype="float32", threads=1)
    )
    mine, theirs, result = load(pivot), load(targets["t0"]), load(tmp_path / "out")
    for name, t in expected.items():
        np.testing.assert_allclose(
            result[name], reference.slerp(mine[name], theirs[name], t), rtol=1e-5, atol=1e-8
        )
    assert report.targets == ["t0"]


def test_slices_stack_or_merge_layers(tmp_path):
    pivot, targets = family(tmp_path, 1)
    (pivot / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 2}))
    one, two = str(pivot), str(targets["t0"])
    stack = {
        "merge_method": "passthrough",
        "slices": [
            {"sources": [{"model": one, "layer_range": [0, 2]}]},
            {"sources": [{"model": two, "layer_range": [1, 2]}]},
        ],
    }
    run_mergekit(written(tmp_path, stack), tmp_path / "deep", settings=Settings(dtype="float32", threads=1))
    result = load(tmp_path / "deep")
    up = "model.layers.{}.mlp.up_proj.weight"
    np.testing.assert_array_equal(result[up.format(1)], load(pivot)[up.format(1)])
    np.testing.assert_array_equal(result[up.format(2)], load(targets["t0"])[up.format(1)])
    ranges = [{"model": m, "layer_range": [0, 2]} for m in (one, two)]
    blend = {
        "merge_method": "slerp",
        "base_model": one,
        "slices": [{"sources": ranges}],
        "parameters": {"t": 0.25},
    }
    run_mergekit(written(tmp_path, blend), tmp_path / "blend", settings=Settings(dtype="float32", threads=1))
    whole = {
        "merge_method": "slerp",
        "base_model": one,
        "models": models((two, None)),
        "parameters": {"t": 0.25},
    }
    run_mergekit(written(tmp_path, whole), tmp_path / "whole", settings=Settings(dtype="float32", threads=1))
    a, b = load(tmp_path / "blend"), load(tmp_path / "whole")
    assert sorted(a) == sorted(b) == sorted(SHAPES)
    for name in SHAPES:
        np.testing.assert_array_equal(a[name], b[name])
    linear = {
        "merge_method": "linear",
        "slices": [{"sources": [{**r, "parameters": {"weight": 1}} for r in ranges]}],
    }
    run_mergekit(
        written(tmp_path, linear), tmp_path / "linear", settings=Settings(dtype="float32", threads=1)
    )
    mean = (load(pivot)["lm_head.weight"] + load(targets["t0"])["lm_head.weight"]) / 2
    np.testing.assert_allclose(load(tmp_path / "linear")["lm_head.weight"], mean, rtol=2e-7)


GOOD = {"merge_method": "ties", "base_model": "b", "models": models(("x", {"weight": 1}))}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"base_model": None}, "base_model"),
        ({"models": models(("x", {"wieght": 1}))}, "models.0.parameters.wieght"),
        ({"parameters": {"gamma": 0.1}}, "parameters.gamma"),
        ({"parameters": {"rescale": True}}, "parameters.rescale"),
        ({"parameters": {"density": 7}}, "parameters"),
        ({"models": models(("other+x", {"weight": 1}))}, "models"),
    ],
)
def test_what_a_method_does_not_take_is_refused_by_its_place(tmp_path, change, place):
    value = {key: entry for key, entry in {**GOOD, **change}.items() if entry is not None}
    with pytest.raises(RecipeError) as caught:
        load_mergekit(written(tmp_path, value))
    assert caught.value.where == place
    load_mergekit(written(tmp_path, GOOD))


def test_mistakes_are_explained_as_a_recipe_s_are(tmp_path):
    path = written(tmp_path, {**GOOD, "merge_method": "tise", "models": [{"wieght": 1}]})
    with pytest.raises(RecipeError, match="did you mean 'ties'") as caught:
        load_mergekit(path)
    assert "models.0.model: this key is missing" in caught.value.what and caught.value.where == str(path)


def test_tokenizer_sources(tmp_path):
    assert load_mergekit(written(tmp_path, {**GOOD, "tokenizer_source": "union"})).embeddings == "union"
    assert load_mergekit(written(tmp_path, {**GOOD, "tokenizer_source": "base"})).embeddings == "pivot"
    assert load_mergekit(written(tmp_path, {**GOOD, "tokenizer": {"source": "base"}})).embeddings == "pivot"
    assert load_mergekit(written(tmp_path, {**GOOD, "tokenizer": {}})).embeddings == "union"
    pivot, targets = family(tmp_path, 1)
    (pivot / "tokenizer.json").write_text('{"from": "pivot", "model": {"vocab": {"a": 0}}}')
    (pivot / "vocab.json").write_text("{}")
    (targets["t0"] / "tokenizer.json").write_text('{"from": "t0", "model": {"vocab": {"a": 0}}}')
    value = {
        "merge_method": "linear",
        "base_model": str(pivot),
        "models": models((str(targets["t0"]), {"weight": 1})),
        "tokenizer_source": str(targets["t0"]),
    }
    run_mergekit(written(tmp_path, value), tmp_path / "out", settings=Settings(threads=1))
    assert json.loads((tmp_path / "out/tokenizer.json").read_text())["from"] == "t0"
    assert not (tmp_path / "out/vocab.json").exists()


def lora_of(tmp_path, name="lora", seed=0):
    """A folder of an adapter of one projection, and its change."""
    rng = np.random.default_rng(seed)
    key = "base_model.model.model.layers.0.mlp.up_proj"
    down, up = rng.normal(size=(2, 16)).astype(np.float32), rng.normal(size=(40, 2)).astype(np.float32)
    factors = {f"{key}.lora_{side}.weight": torch.from_numpy(m) for side, m in (("A", down), ("B", up))}
    return adapter(tmp_path / name, factors), 3 * up @ down


UP = "model.layers.0.mlp.up_proj.weight"


def test_passthrough_of_a_whole_model_takes_it_whole(tmp_path):
    pivot, targets = family(tmp_path, 1)
    lora, change = lora_of(tmp_path)
    settings = Settings(dtype="float32", threads=1)
    config = {"merge_method": "passthrough", "models": models((f"{pivot}+{lora}", {"scale": 2}))}
    run_mergekit(written(tmp_path, config), tmp_path / "a", settings=settings)
    np.testing.assert_allclose(load(tmp_path / "a")[UP], 2 * (load(pivot)[UP] + change), rtol=1e-5, atol=1e-6)
    config = {
        "merge_method": "passthrough",
        "base_model": str(pivot),
        "models": models((str(targets["t0"]), None)),
    }
    run_mergekit(written(tmp_path, config), tmp_path / "b", settings=settings)
    theirs, result = load(targets["t0"]), load(tmp_path / "b")
    assert all(np.array_equal(result[name], theirs[name]) for name in SHAPES)
    both = {"merge_method": "passthrough", "models": models((str(pivot), None), (str(targets["t0"]), None))}
    with pytest.raises(RecipeError, match="one whole model"):
        load_mergekit(written(tmp_path, both))
    sliced = {"sources": [{"model": "p+a", "layer_range": [0, 2]}]}
    with pytest.raises(RecipeError, match="without the adapter a"):
        load_mergekit(written(tmp_path, {"merge_method": "passthrough", "slices": [sliced]}))
    load_mergekit(written(tmp_path, {"merge_method": "passthrough", "base_model": "p", "slices": [sliced]}))
    sliced = {"sources": [{"model": m, "layer_range": [0, 2]} for m in "pq"]}
    with pytest.raises(RecipeError, match="one source"):
        load_mergekit(written(tmp_path, {"merge_method": "passthrough", "slices": [sliced]}))


@pytest.mark.parametrize("based", [True, False])
def test_slices_over_adapters_need_not_name_the_pivot(tmp_path, based):
    pivot, _ = family(tmp_path, 1)
    (one, a), (two, b) = lora_of(tmp_path, "one", 0), lora_of(tmp_path, "two", 1)
    sources = [
        {"model": f"{pivot}+{m}", "layer_range": [0, 2], "parameters": {"weight": 1}} for m in (one, two)
    ]
    config = {
        "merge_method": "linear",
        "slices": [{"sources": sources}],
        **({"base_model": str(pivot)} if based else {}),
    }
    run_mergekit(written(tmp_path, config), tmp_path / "out", settings=Settings(dtype="float32", threads=1))
    np.testing.assert_allclose(
        load(tmp_path / "out")[UP], load(pivot)[UP] + (a + b) / 2, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(RecipeError, match="does not name the base model"):
        load_mergekit(written(tmp_path, {**config, "merge_method": "ties", "base_model": str(pivot)}))


def test_adapters_in_one_word_are_targets_over_the_pivot(tmp_path):
    pivot, targets = family(tmp_path, 1)
    rng = np.random.default_rng(0)
    name = "model.layers.0.mlp.up_proj"
    down, up = rng.normal(size=(2, 16)).astype(np.float32), rng.normal(size=(40, 2)).astype(np.float32)
    factors = {f"base_model.model.{name}.lora_{side}.weight": m for side, m in (("A", down), ("B", up))}
    lora = adapter(tmp_path / "lora", {key: torch.from_numpy(m) for key, m in factors.items()})
    value = {
        "merge_method": "linear",
        "models": models((f"{pivot}+{lora}", {"weight": 1}), (str(targets["t0"]), {"weight": 3})),
        "dtype": "float32",
    }
    run_mergekit(written(tmp_path, value), tmp_path / "out", settings=Settings(threads=1))
    base, other = load(pivot)[f"{name}.weight"], load(targets["t0"])[f"{name}.weight"]
    expected = (base + 3 * up @ down + 3 * other) / 4
    np.testing.assert_allclose(load(tmp_path / "out")[f"{name}.weight"], expected, rtol=1e-5, atol=1e-6)


def test_equals_signs_in_paths_are_no_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1e-5").mkdir()
    assert name_targets(["lr=1e-5", "runs/lr=2", "a=runs/lr=3", "b=c"]) == {
        "lr=1e-5": "lr=1e-5", "lr=2": "runs/lr=2", "a": "runs/lr=3", "b": "c",
    }  # fmt: skip
    config = {"merge_method": "linear", "models": models(("x=y", {"weight": 1}), ("a/lr=1", {"weight": 1}))}
    targets = load_mergekit(written(tmp_path, config)).targets
    assert targets == name_targets(targets) == {"x=y": "x=y", "lr=1": "a/lr=1"}


def sliced(*slices, **top):
    """A file of slices: each a list of (model, first, end, parameters)."""
    made = [
        {
            "sources": [
                {"model": str(m), "layer_range": [a, b], **({"parameters": p} if p else {})}
                for m, a, b, p in part
            ]
        }
        for part in slices
    ]
    return {"merge_method": "linear", "slices": made, **top}


def merged_file(tmp_path, config, out="out"):
    report = run_mergekit(
        written(tmp_path, config), tmp_path / out, settings=Settings(dtype="float32", threads=1)
    )
    return load(tmp_path / out), report


def test_slices_may_have_different_sources(tmp_path):
    """mergekit merges each slice's own sources; what lies before the layers as the first slice, what lies behind as the last."""
    pivot, targets = family(tmp_path, 2)
    a, b = targets.values()
    half = {"weight": 0.5}
    config = sliced([(pivot, 0, 1, {"weight": 1})], [(a, 1, 2, half), (b, 1, 2, half)])
    result, report = merged_file(tmp_path, config)
    mine, one, two = load(pivot), load(a), load(b)
    for name in SHAPES:
        last = ".1." in name or name in ("model.norm.weight", "lm_head.weight")
        np.testing.assert_allclose(
            result[name], (one[name] + two[name]) / 2 if last else mine[name], rtol=2e-7
        )
    shares = {t.name: t.weights for t in report.tensors}
    assert shares["model.embed_tokens.weight"] == [1, 0, 0] and shares["lm_head.weight"] == [0, 0.5, 0.5]
    assert all(len(t.rms) == 3 and len(t.cosine) == 3 for t in report.tensors)
    assert sum(report.summary()["weights"]) == pytest.approx(1)


def test_slices_of_methods_with_a_base_may_name_other_targets_or_none(tmp_path):
    pivot, targets = family(tmp_path, 2)
    a, b = targets.values()
    mine, one, two = load(pivot), load(a), load(b)
    first, second = UP, UP.replace(".0.", ".1.")
    arithmetic = {"merge_method": "task_arithmetic", "base_model": str(pivot), "parameters": {"weight": 1}}
    uneven = sliced(
        [(pivot, 0, 1, None), (a, 0, 1, None)], [(pivot, 1, 2, None), (a, 1, 2, None), (b, 1, 2, None)]
    )
    result, _ = merged_file(tmp_path, uneven | arithmetic, "arithmetic")
    np.testing.assert_allclose(result[first], one[first], rtol=1e-6)
    np.testing.assert_allclose(result[second], one[second] + two[second] - mine[second], rtol=1e-5, atol=1e-7)
    slerp = {"merge_method": "slerp", "base_model": str(pivot), "parameters": {"t": 0.25}}
    chain = sliced([(b, 0, 1, None)], [(pivot, 1, 2, None), (a, 1, 2, None)])
    result, report = merged_file(tmp_path, chain | slerp, "slerp")
    np.testing.assert_array_equal(result[first], two[first])
    np.testing.assert_allclose(
        result[second], reference.slerp(mine[second], one[second], 0.25), rtol=1e-5, atol=1e-8
    )
    assert next(t.weights for t in report.tensors if t.name == first) == [1, 0]
    ties = {"merge_method": "ties", "base_model": str(pivot), "parameters": {"weight": 1, "density": 1}}
    whole, _ = merged_file(
        tmp_path, sliced([(pivot, 0, 1, None)], [(pivot, 1, 2, None), (b, 1, 2, None)]) | ties, "ties"
    )
    np.testing.assert_array_equal(whole[first], mine[first])
    np.testing.assert_allclose(whole[second], two[second], rtol=1e-6)
    plan = plan_mergekit(written(tmp_path, chain | slerp))
    assert plan.tensors == len(SHAPES)


@pytest.mark.parametrize(
    ("config", "place"),
    [
        (sliced([("a", 0, 1, None)], base_model="p", merge_method="ties"), "slices.0.sources"),
        (sliced([("p", 0, 1, None), ("a", 0, 1, None)], [("a", 1, 2, None), ("b", 1, 2, None)], base_model="p",
                merge_method="slerp"), "slices.1.sources"),
        (sliced([("p", 0, 1, None), ("a", 0, 1, None), ("b", 0, 1, None)], base_model="p", merge_method="slerp"),
         "slices.0.sources"),
        (sliced([("p", 0, 1, None), ("a", 0, 1, None)], base_model="p", merge_method="model_stock"), "slices.0.sources"),
    ],
)  # fmt: skip
def test_slices_that_a_method_cannot_merge_are_refused_by_their_place(tmp_path, config, place):
    with pytest.raises(RecipeError) as caught:
        load_mergekit(written(tmp_path, config))
    assert caught.value.where == place


def test_a_gradient_ends_at_the_head_whatever_its_name(tmp_path):
    """GPT-NeoX calls it embed_out; the vision part has a gradient of its own."""
    stack = {f"gpt_neox.layers.{n}.w": (6, 6) for n in range(3)}
    tower = {f"vision.blocks.{n}.w": (6, 6) for n in range(2)}
    ends = {
        "gpt_neox.embed_in.weight": (9, 6),
        "gpt_neox.final_layer_norm.weight": (6,),
        "embed_out.weight": (9, 6),
    }
    pivot, targets = family(tmp_path, 1, shapes={**stack, **tower, **ends})
    for folder in (pivot, targets["t0"]):
        (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 3, "vocab_size": 9}))
    weights = {str(pivot): [0.0, 1.0], str(targets["t0"]): [1.0, 0.0]}
    config = {
        "merge_method": "linear",
        "parameters": {"normalize": False},
        "models": [{"model": name, "parameters": {"weight": value}} for name, value in weights.items()],
    }
    result, _ = merged_file(tmp_path, config)
    mine, theirs = load(pivot), load(targets["t0"])
    expected = {
        "gpt_neox.embed_in.weight": 1, "gpt_neox.layers.0.w": 1, "gpt_neox.layers.1.w": 0.5, "gpt_neox.layers.2.w": 0,
        "gpt_neox.final_layer_norm.weight": 0, "embed_out.weight": 0, "vision.blocks.0.w": 1, "vision.blocks.1.w": 0,
    }  # fmt: skip
    for name, share in expected.items():
        np.testing.assert_allclose(result[name], share * theirs[name] + (1 - share) * mine[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{model: {path: a}}", "a"),
        ("{model: {path: a, revision: r2}}", "a@r2"),
        ("{path: a}", "a"),
        ("{model: {path: a}, lora: {path: lo}}", "a+lo"),
        ("{model: a, lora: null}", "a"),
    ],
)
def test_models_are_read_as_mergekit_writes_them_itself(tmp_path, written, meant):
    """Its ModelReference: a plain string, or mappings."""
    path = tmp_path / "f.yaml"
    path.write_text(f"merge_method: linear\nmodels:\n  - model: {written}\n  - model: b\n")
    plain = tmp_path / "g.yaml"
    plain.write_text(f"merge_method: linear\nmodels:\n  - model: {meant}\n  - model: b\n")
    one, two = load_mergekit(path), load_mergekit(plain)
    assert (one.pivot, one.targets) == (two.pivot, two.targets)


def test_base_model_and_tokenizer_source_may_be_mappings(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text(
        "merge_method: ties\nbase_model: {model: {path: a}}\ntokenizer_source: {model: {path: c}}\nmodels: [{model: b}]\n"
    )
    job = load_mergekit(path)
    assert (job.pivot, job.tokenizer_source) == ("a", "c")
    path.write_text("merge_method: linear\ntokenizer_source: model:c/d\nmodels: [{model: b}]\n")
    assert load_mergekit(path).tokenizer_source == "c/d"
