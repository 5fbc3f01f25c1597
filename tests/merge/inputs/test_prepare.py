"""Adapters, tied tensors, unequal vocabularies, pickles, arrangements: inputs that are not simply alike."""

import json

import numpy as np
import pytest
import torch

from fusionchat.errors import MergeError, ModelError
from fusionchat.hub import find
from fusionchat.merge.inputs.layers.arrange import Arrangement
from fusionchat.merge.inputs.layers.stack import renumbered
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.passthrough import LayerRange, Passthrough
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.stream import cut
from fusionchat.merge.stream.merge import merge_models
from fusionchat.merge.stream.planning import plan_merge
from fusionchat.models.base import write_base
from tests.merge.folders import SHAPES, adapter, family, load, random_tensors, save

near = {"rtol": 3e-6, "atol": 1e-7}


def merged(pivot, targets, method, out, **settings):
    report = merge_models(pivot, targets, method, out, **{"dtype": "float32", "threads": 1, **settings})
    return load(out), report


def as_torch(folder):
    return {name: torch.from_numpy(values).float() for name, values in load(folder).items()}


@pytest.mark.parametrize("rslora", [False, True])
def test_lora_targets_are_applied_on_the_fly(tmp_path, monkeypatch, rslora):
    monkeypatch.setattr(cut, "BLOCK", 100)  # blocks that begin inside a row
    pivot, targets = family(tmp_path, 1)
    name = "model.layers.0.mlp.up_proj.weight"
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 16, generator=rng), torch.randn(40, 2, generator=rng)
    ea, eb = torch.randn(2, 60, generator=rng), torch.randn(16, 2, generator=rng)
    head = torch.randn(60, 16, generator=rng)
    tensors = {
        "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": a,
        "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight": b,
        "base_model.model.model.embed_tokens.lora_embedding_A": ea,
        "base_model.model.model.embed_tokens.lora_embedding_B": eb,
        "base_model.model.lm_head.weight": head,
    }
    lora = adapter(tmp_path / "lora", tensors, use_rslora=rslora, alpha_pattern={"up_proj": 3})
    result, report = merged(pivot, {"lora": lora, "full": targets["t0"]}, Linear(), tmp_path / "out")
    root = np.sqrt(2) if rslora else 2
    base, full = load(pivot), load(targets["t0"])
    expected = {k: base[k].copy() for k in SHAPES}
    expected[name] += (3 / root) * (b @ a).double().numpy()
    expected["model.embed_tokens.weight"] += (6 / root) * (eb @ ea).T.double().numpy()
    expected["lm_head.weight"] = head.double().numpy()
    for key in SHAPES:
        np.testing.assert_allclose(result[key], (expected[key] + full[key]) / 2, **near)
    unchanged = next(t for t in report.tensors if t.name == "model.norm.weight")
    assert unchanged.rms[0] == 0


def test_adapters_that_do_not_fit_are_refused(tmp_path):
    pivot, _ = family(tmp_path, 1)
    good = {
        "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": torch.ones(2, 16),
        "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight": torch.ones(40, 2),
    }
    cases = [
        (good, {"use_dora": True}, "DoRA"),
        (good, {"peft_type": "IA3"}, "IA3"),
        ({k.replace("layers.0", "layers.9"): v for k, v in good.items()}, {}, "layers.9"),
        ({**good, "base_model.model.other.weight": torch.ones(3)}, {}, "other"),
        ({k: v for k, v in good.items() if "lora_A" in k}, {}, "up_proj"),
        ({k: v[:, :1] if "lora_B" in k else v for k, v in good.items()}, {}, "up_proj"),
    ]
    for n, (tensors, config, words) in enumerate(cases):
        folder = adapter(tmp_path / f"lora{n}", tensors, **config)
        with pytest.raises(MergeError, match=words):
            merged(pivot, {"lora": folder}, Linear(), tmp_path / "out")


def test_tied_heads_are_named_or_left_out(tmp_path):
    base = random_tensors(0)
    base["lm_head.weight"] = base["model.embed_tokens.weight"].clone()
    tied_config = {"model_type": "llama", "tie_word_embeddings": True}
    with_head = save(tmp_path / "with", base)
    without = save(
        tmp_path / "without", {k: v for k, v in base.items() if k != "lm_head.weight"}, config=tied_config
    )
    shifted = {k: v + 0.5 for k, v in base.items()}
    target = save(
        tmp_path / "t", {k: v for k, v in shifted.items() if k != "lm_head.weight"}, config=tied_config
    )
    result, _ = merged(with_head, {"t": target}, Linear(), tmp_path / "a")
    np.testing.assert_array_equal(result["lm_head.weight"], result["model.embed_tokens.weight"])
    full = save(tmp_path / "full", shifted)
    result, _ = merged(without, {"t": full}, Linear(), tmp_path / "b")
    assert "lm_head.weight" not in result
    untied = save(tmp_path / "untied", {**shifted, "lm_head.weight": shifted["lm_head.weight"] + 1})
    with pytest.raises(MergeError, match="lm_head"):
        merged(without, {"t": untied}, Linear(), tmp_path / "c")
    loose = {**base, "lm_head.weight": base["lm_head.weight"] + 1}
    result, _ = merged(save(tmp_path / "loose", loose), {"t": target}, Linear(), tmp_path / "d")
    np.testing.assert_array_equal(result["lm_head.weight"], result["model.embed_tokens.weight"])


def tokenizer(folder, tokens, added):
    entries = [{"id": i, "content": text, "special": True} for text, i in added.items()]
    value = {
        "model": {"type": "BPE", "vocab": {text: i for i, text in enumerate(tokens)}},
        "added_tokens": entries,
    }
    (folder / "tokenizer.json").write_text(json.dumps(value))


def vocabulary_family(tmp_path, counts, added):
    """A pivot with 10 tokens in 12 rows, and targets with added tokens."""
    folders = []
    for n, (rows, extra) in enumerate(zip(counts, added, strict=True)):
        shapes = {
            "model.embed_tokens.weight": (rows, 4),
            "model.layers.0.w.weight": (3, 4),
            "lm_head.weight": (rows, 4),
        }
        config = {"model_type": "llama", "vocab_size": rows}
        folders.append(save(tmp_path / f"m{n}", random_tensors(n, scale=1.0, shapes=shapes), config=config))
        tokenizer(folders[-1], [f"t{i}" for i in range(10)], extra)
    return folders


def test_vocabularies_that_differ_are_refused_unless_told(tmp_path):
    pivot, target = vocabulary_family(tmp_path, [12, 16], [{"<a>": 10}, {"<b>": 10, "<a>": 13}])
    with pytest.raises(MergeError, match="pivot or union"):
        merged(pivot, {"t": target}, Linear(), tmp_path / "out")
    result, _ = merged(pivot, {"t": target}, Linear(), tmp_path / "out", embeddings="pivot")
    mine, theirs = load(pivot), load(target)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        np.testing.assert_array_equal(result[name][:10], theirs[name][:10])
        np.testing.assert_array_equal(result[name][10], theirs[name][13])  # <a>, by token
        np.testing.assert_array_equal(result[name][11], theirs[name][11])  # padding, by position
    pruned, _ = merged(pivot, {"t": target}, Ties(density=1.0), tmp_path / "ties", embeddings="pivot")
    np.testing.assert_allclose(pruned["lm_head.weight"][10], theirs["lm_head.weight"][13], rtol=1e-6)
    small = save(
        tmp_path / "small", {k: v[:9] if v.shape[0] == 12 else v for k, v in as_torch(pivot).items()}
    )
    tokenizer(small, [f"t{i}" for i in range(9)], {})
    result, _ = merged(pivot, {"s": small}, TaskArithmetic(), tmp_path / "less", embeddings="pivot")
    np.testing.assert_array_equal(result["lm_head.weight"], mine["lm_head.weight"])


def test_another_tokenizer_of_the_same_size_is_refused(tmp_path):
    pivot, target = vocabulary_family(tmp_path, [12, 12], [{"<a>": 10}, {"<a>": 10}])
    own = target / "tokenizer.json"
    names = [f"t{i}" for i in range(10)]
    for tokens, added, words in (
        ([*names[:3], "t4", "t3", *names[5:]], {"<a>": 10}, "'t4' is row 3, the pivot has it in row 4"),
        (names, {"<a>": 10, "<b>": 11}, "'<b>' is row 11, the pivot has no such token"),
    ):
        tokenizer(target, tokens, added)
        with pytest.raises(MergeError, match=f"Target t .*{words}") as caught:
            merged(pivot, {"t": target}, Linear(), tmp_path / "no")
        assert "pivot or union" in str(caught.value) and str(own) in str(caught.value)
        with pytest.raises(MergeError, match=words):
            plan_merge(pivot, {"t": target}, Linear())
        merged(pivot, {"t": target}, Linear(), tmp_path / f"union{len(added)}", embeddings="union")
        # Targets of a run have the rows of their pivot, whatever tokenizer the recipe gives it.
        result, _ = merged(pivot, {"t": target}, Linear(), tmp_path / f"rows{len(added)}", embeddings="rows")
        np.testing.assert_array_equal(result["lm_head.weight"], load(target)["lm_head.weight"])
    tokenizer(target, names[:9], {"<a>": 10})  # one that lacks a token has nothing in another place
    merged(pivot, {"t": target}, Linear(), tmp_path / "fewer")
    own.write_text(json.dumps(json.loads((pivot / "tokenizer.json").read_text()), indent=1))  # only formatted
    merged(pivot, {"t": target}, Linear(), tmp_path / "formatted")
    own.unlink()
    merged(pivot, {"t": target}, Linear(), tmp_path / "without")
    (pivot / "tokenizer.json").write_text("{}")  # nothing to compare, nothing is read
    merged(pivot, {"t": target}, Linear(), tmp_path / "nothing")


def test_equal_tokenizers_are_not_parsed(tmp_path, monkeypatch):
    pivot, target = vocabulary_family(tmp_path, [12, 12], [{"<a>": 10}, {"<a>": 10}])
    monkeypatch.setattr(
        "fusionchat.merge.inputs.vocabulary.vocabularies.read_vocabulary",
        lambda folder: pytest.fail("parsed"),
    )
    merged(pivot, {"t": target}, Linear(), tmp_path / "out")


def test_the_quantized_model_is_blamed(tmp_path):
    pivot, targets = family(tmp_path, 2, dtype="bfloat16")
    name = "model.layers.0.mlp.up_proj.weight"
    held = {k: v.to(torch.bfloat16) for k, v in as_torch(targets["t0"]).items()}
    quantized = save(tmp_path / "q", {**held, name: held[name].to(torch.int8)})
    for models in ((pivot, {"t1": targets["t1"], "q": quantized}), (quantized, targets)):
        with pytest.raises(MergeError, match=rf"{name} \(I8\)") as caught:
            merged(*models, Linear(), tmp_path / "out")
        assert str(quantized) in str(caught.value)


def test_an_adapter_beside_its_models_config_is_one(tmp_path):
    pivot, _ = family(tmp_path, 1)
    head = torch.ones(60, 16)
    lora = adapter(tmp_path / "lora", {"base_model.model.lm_head.weight": head})
    (lora / "config.json").write_text((pivot / "config.json").read_text())
    (lora / "training_args.bin").write_bytes(b"no weights")
    result, _ = merged(pivot, {"lora": lora}, Linear(), tmp_path / "out")
    np.testing.assert_array_equal(result["lm_head.weight"], head)
    save(lora, random_tensors(3))  # a model that kept its adapter
    result, _ = merged(pivot, {"lora": lora}, Linear(), tmp_path / "model")
    np.testing.assert_array_equal(result["lm_head.weight"], random_tensors(3)["lm_head.weight"])


def test_union_adds_the_targets_tokens(tmp_path):
    pivot, one, two = vocabulary_family(
        tmp_path, [12, 12, 14], [{"<a>": 10}, {"<a>": 10, "<b>": 11}, {"<b>": 10, "<c>": 12, "<a>": 13}]
    )
    result, _ = merged(pivot, {"x": one, "y": two}, Linear(), tmp_path / "out", embeddings="union")
    mine, a, b = load(pivot), load(one), load(two)
    name = "lm_head.weight"
    assert result[name].shape == (13, 4)
    np.testing.assert_allclose(result[name][:10], (a[name][:10] + b[name][:10]) / 2, rtol=1e-6)
    np.testing.assert_allclose(result[name][10], (a[name][10] + b[name][13]) / 2, rtol=1e-6)  # <a>
    np.testing.assert_allclose(result[name][11], (a[name][11] + b[name][10]) / 2, rtol=1e-6)  # <b>
    np.testing.assert_allclose(result[name][12], b[name][12], rtol=1e-6)  # <c>: the other has no say
    assert mine[name].shape == (12, 4)
    assert json.loads((tmp_path / "out/config.json").read_text())["vocab_size"] == 13
    added = json.loads((tmp_path / "out/tokenizer.json").read_text())["added_tokens"]
    assert [(entry["content"], entry["id"]) for entry in added] == [("<a>", 10), ("<b>", 11), ("<c>", 12)]


def test_pickles_are_read_only_if_allowed(tmp_path):
    pivot, targets = family(tmp_path, 1)
    folder = tmp_path / "pickled"
    folder.mkdir()
    torch.save(as_torch(targets["t0"]), folder / "pytorch_model.bin")
    with pytest.raises(MergeError, match="allow-pickle"):
        merged(pivot, {"p": folder}, Linear(), tmp_path / "out")
    result, _ = merged(pivot, {"p": folder}, Linear(), tmp_path / "out", allow_pickle=True)
    np.testing.assert_array_equal(result["lm_head.weight"], load(targets["t0"])["lm_head.weight"])
    assert not (tmp_path / "out/.unpickled").exists()

    class Dangerous:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"lm_head.weight": Dangerous()}, folder / "pytorch_model.bin")
    with pytest.raises(MergeError, match="weights"):
        merged(pivot, {"p": folder}, Linear(), tmp_path / "again", allow_pickle=True)
    assert not (tmp_path / "again").exists()


def test_passthrough_stacks_layers(tmp_path):
    pivot, targets = family(tmp_path, 1)
    config = {"model_type": "llama", "num_hidden_layers": 2, "layer_types": ["x", "y"]}
    (pivot / "config.json").write_text(json.dumps(config))
    mine, theirs = load(pivot), load(targets["t0"])
    slices = (LayerRange("pivot", (0, 2)), LayerRange("t0", (1, 2)), LayerRange("pivot", (0, 1)))
    result, report = merged(pivot, targets, Passthrough(slices=slices), tmp_path / "out")
    up = "model.layers.{}.mlp.up_proj.weight"
    for number, (held, layer) in enumerate([(mine, 0), (mine, 1), (theirs, 1), (mine, 0)]):
        np.testing.assert_array_equal(result[up.format(number)], held[up.format(layer)])
    np.testing.assert_array_equal(result["lm_head.weight"], mine["lm_head.weight"])
    written = json.loads((tmp_path / "out/config.json").read_text())
    assert (written["num_hidden_layers"], written["layer_types"]) == (4, ["x", "y", "y", "x"])
    assert report.summary()["parameters"] == sum(v.size for v in result.values())
    same, _ = merged(pivot, {}, Passthrough(scale=2.0), tmp_path / "same")
    np.testing.assert_array_equal(same[up.format(1)], 2 * mine[up.format(1)])
    for wrong in (LayerRange("pivot", (0, 3)), LayerRange("t9", (0, 1))):
        with pytest.raises(MergeError, match="no layer"):
            merged(pivot, targets, Passthrough(slices=(wrong,)), tmp_path / "wrong")
    with pytest.raises(ValueError):
        LayerRange("pivot", (2, 2))


def test_layers_can_be_merged_from_other_places(tmp_path):
    shapes = {"model.norm.weight": (5,), **{f"model.layers.{n}.mlp.up_proj.weight": (8, 5) for n in range(2)}}
    pivot, targets = family(tmp_path, 1, shapes=shapes)
    both = ("pivot", "t0")
    crossed = Arrangement(((("pivot", 0), ("t0", 1)), (("pivot", 1), ("t0", 0))), both, both)
    result, _ = merged(pivot, targets, Linear(), tmp_path / "out", arrangement=crossed)
    theirs = load(targets["t0"])
    up = "model.layers.{}.mlp.up_proj.weight"
    np.testing.assert_array_equal(result[up.format(0)], theirs[up.format(1)])
    np.testing.assert_array_equal(result["model.norm.weight"], theirs["model.norm.weight"])
    other, others = family(tmp_path / "uneven", 1)
    with pytest.raises(MergeError, match="input_layernorm"):
        merged(other, others, Linear(), tmp_path / "no", arrangement=crossed)
    assert renumbered("h.11.mlp.3.w", 2) == "h.2.mlp.3.w"


def test_an_adapter_is_not_merged_into_other_weights_than_its_own(tmp_path):
    pivot, targets = family(tmp_path, 1)
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_"
    outputs, inputs = SHAPES["model.layers.0.mlp.up_proj.weight"]
    held = {f"{name}A.weight": torch.ones(2, inputs), f"{name}B.weight": torch.ones(outputs, 2)}
    folder = adapter(tmp_path / "adapter", held)
    merged(targets["t0"], {"a": folder}, Linear(), tmp_path / "before")  # most adapters do not say
    write_base(folder, find(str(pivot)))
    merged(pivot, {"a": folder}, Linear(), tmp_path / "out")
    with pytest.raises(ModelError, match="has other weights"):
        merged(targets["t0"], {"a": folder}, Linear(), tmp_path / "no")


@pytest.mark.parametrize("shape", [(0, 16), (16, 0)])
def test_a_tensor_without_elements_needs_no_merging(tmp_path, shape):
    """Whatever its types: it is the pivot's. It was once refused as not a floating-point tensor where they differ."""
    shapes = {**SHAPES, "model.layers.0.mlp.none.weight": shape}
    pivot, _ = family(tmp_path / "narrow", 0, dtype="bfloat16", shapes=shapes)
    _, targets = family(tmp_path / "wide", 2, shapes=shapes)
    result, report = merged(pivot, targets, Ties(density=1.0), tmp_path / "out")
    assert result["model.layers.0.mlp.none.weight"].shape == shape
    assert report.copied == ["model.layers.0.mlp.none.weight"]
