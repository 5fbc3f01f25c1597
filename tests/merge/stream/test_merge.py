"""The engine: results against the references, refusals before anything is written, the same bytes however it is run."""

import json
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.passthrough import Passthrough
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream import cut
from fusionchat.merge.stream.merge import merge_models
from fusionchat.merge.weights import group_of
from tests.merge.folders import SHAPES, family, load, random_tensors, save, stacked
from tests.reference import merge as reference


def merged(pivot, targets, method, out, **settings):
    report = merge_models(pivot, targets, method, out, **{"dtype": "float32", "threads": 1, **settings})
    return load(out), report


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_varm_is_the_papers_formula(tmp_path, power):
    pivot, targets = family(tmp_path, 3)
    result, report = merged(pivot, targets, Varm(power=power), tmp_path / "out")
    base, others = load(pivot), stacked(targets)
    for name in SHAPES:
        np.testing.assert_allclose(
            result[name], reference.varm(base[name], others[name], power), rtol=3e-7, atol=1e-9
        )
    weights = {t.name: t.weights for t in report.tensors}
    for name in SHAPES:
        delta = reference.changes(base[name], others[name])
        np.testing.assert_allclose(weights[name], reference.varm_weights(delta, power), rtol=1e-6)


@pytest.mark.parametrize("granularity", ["model", "layer", "module"])
def test_varm_groups_are_weighted_by_element_count(tmp_path, granularity):
    pivot, targets = family(tmp_path, 2)
    _, report = merged(pivot, targets, Varm(granularity=granularity), tmp_path / "out")
    base, others = load(pivot), stacked(targets)
    groups: dict[str, list[np.ndarray]] = {}
    for name in SHAPES:
        delta = reference.changes(base[name], others[name]).reshape(2, -1)
        groups.setdefault(group_of(name, granularity), []).append(delta)
    for tensor in report.tensors:
        whole = np.concatenate(groups[group_of(tensor.name, granularity)], axis=1)
        np.testing.assert_allclose(tensor.weights, reference.varm_weights(whole), rtol=1e-6)


@pytest.mark.parametrize("power", [0.0, 1.0, 0.5])
def test_varm_by_element(tmp_path, power):
    pivot, targets = family(tmp_path, 3)
    result, report = merged(pivot, targets, Varm(granularity="element", power=power), tmp_path / "out")
    base, others = load(pivot), stacked(targets)
    for name in SHAPES:
        expected = reference.varm_elements(base[name], others[name], power)
        np.testing.assert_allclose(result[name], expected, rtol=2e-7, atol=1e-9)
    assert report.tensors[0].weights == []


def test_linear_and_task_arithmetic(tmp_path):
    pivot, targets = family(tmp_path, 2)
    base, others = load(pivot), stacked(targets)
    result, _ = merged(pivot, targets, Linear(weight=(0.3, 0.9)), tmp_path / "a")
    unscaled, _ = merged(pivot, targets, Linear(weight=(0.3, 0.9), normalize=False), tmp_path / "b")
    task, _ = merged(pivot, targets, TaskArithmetic(weight=(1.0, -0.5), scale=0.7), tmp_path / "c")
    for name in SHAPES:
        near = {"rtol": 2e-7, "atol": 1e-9}
        np.testing.assert_allclose(
            result[name], reference.linear(base[name], others[name], (0.3, 0.9)), **near
        )
        expected = reference.linear(base[name], others[name], (0.3, 0.9), normalize=False)
        np.testing.assert_allclose(unscaled[name], expected, **near)
        expected = reference.task_arithmetic(base[name], others[name], (1.0, -0.5), 0.7)
        np.testing.assert_allclose(task[name], expected, **near)


@pytest.mark.parametrize("scale", [1e-10, 1e-4, 1e2])
def test_varm_does_not_depend_on_the_size_of_changes(tmp_path, scale):
    shape = {"w": (500, 30)}
    zero = {"w": torch.zeros(shape["w"])}
    pivot = save(tmp_path / "pivot", zero)
    targets = {
        f"t{j}": save(tmp_path / f"t{j}", random_tensors(j, zero, scale * (j + 1), shapes=shape))
        for j in range(3)
    }
    _, report = merged(pivot, targets, Varm(), tmp_path / "out")
    np.testing.assert_allclose(report.tensors[0].weights, [1 / 14, 4 / 14, 9 / 14], rtol=0.05)


def test_one_target_gives_itself_and_unchanged_targets_give_the_pivot(tmp_path):
    pivot, targets = family(tmp_path, 1)
    result, _ = merged(pivot, targets, Varm(), tmp_path / "one")
    same, report = merged(pivot, {"a": pivot, "b": pivot}, Varm(), tmp_path / "same")
    mixed, _ = merged(pivot, {"a": pivot, "b": targets["t0"]}, Varm(), tmp_path / "mixed")
    for name in SHAPES:
        np.testing.assert_array_equal(result[name], load(targets["t0"])[name])
        np.testing.assert_array_equal(mixed[name], load(targets["t0"])[name])
        np.testing.assert_array_equal(same[name], load(pivot)[name])
    assert all(t.weights == [0, 0] and t.change_rms == 0 for t in report.tensors)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_results_are_rounded_once_and_correctly(tmp_path, dtype):
    shapes = {"a": (300, 700), "b": (5,)}
    pivot, targets = family(tmp_path, 3, scale=3e-3, dtype="bfloat16", shapes=shapes)
    result, _ = merged(pivot, targets, Linear(weight=(0.2, 0.3, 0.51)), tmp_path / "out", dtype=dtype)
    base, others = load(pivot), stacked(targets)
    for name in shapes:
        exact = reference.linear(base[name], others[name], (0.2, 0.3, 0.51))
        if dtype == "bfloat16":
            expected = reference.to_bf16(exact)
        else:
            expected = exact.astype({"float16": np.float16, "float32": np.float32}[dtype]).astype(np.float64)
        assert (result[name] != expected).sum() <= 1e-5 * expected.size


def test_inputs_of_different_types_and_shardings(tmp_path):
    pivot, _ = family(tmp_path / "x", 1, dtype="bfloat16")
    base = {name: torch.from_numpy(values) for name, values in load(pivot).items()}
    tensors = [random_tensors(5, base, 1e-2, "float32"), random_tensors(6, base, 1e-2, "float16")]
    tensors.append({name: t.double() for name, t in random_tensors(7, base, 1e-2).items()})
    targets = {f"t{j}": save(tmp_path / f"t{j}", t, shards=j + 1) for j, t in enumerate(tensors)}
    result, _ = merged(pivot, targets, Linear(), tmp_path / "out")
    others = stacked(targets)
    for name in SHAPES:
        np.testing.assert_allclose(result[name], others[name].mean(0), rtol=2e-7, atol=1e-9)


def test_the_same_bytes_for_any_threads_and_shard_size(tmp_path, monkeypatch):
    monkeypatch.setattr(cut, "CHUNK", 2 * cut.BLOCK)
    monkeypatch.setattr(
        "fusionchat.merge.stream.engine._AHEAD_CHUNKS", 6
    )  # with two threads, one chunk is small
    shapes = {**SHAPES, "big": (401, 500), "small": (130, 300)}
    pivot, targets = family(tmp_path, 3, shapes=shapes)
    seen = {}
    for threads in (1, 2, 3, 8):
        report = merge_models(pivot, targets, Varm(), tmp_path / f"out{threads}", threads=threads)
        seen[threads] = (report.files, report.tensors)
    assert all(value == seen[1] for value in seen.values())
    sharded, report = merged(
        pivot, targets, Varm(), tmp_path / "sharded", dtype="bfloat16", shard_bytes=3_000, threads=2
    )
    whole = load(tmp_path / "out1")
    assert len(report.files) > 3
    assert sorted(sharded) == sorted(whole)
    for name, values in whole.items():
        np.testing.assert_array_equal(sharded[name], values)
    index = json.loads((tmp_path / "sharded/model.safetensors.index.json").read_text())
    assert sorted(index["weight_map"]) == sorted(shapes)


def test_report_says_what_happened(tmp_path):
    pivot, targets = family(tmp_path, 2, scale=1e-2)
    _, report = merged(pivot, targets, Varm(), tmp_path / "out", dtype="bfloat16", hash_inputs=True)
    written = json.loads((tmp_path / "out/merge_weights.json").read_text())
    assert written == json.loads(json.dumps(report.to_json()))
    base, others = load(pivot), stacked(targets)
    tensor = next(t for t in report.tensors if t.name == "lm_head.weight")
    delta = reference.changes(base[tensor.name], others[tensor.name]).reshape(2, -1)
    np.testing.assert_allclose(tensor.rms, np.sqrt((delta**2).mean(1)), rtol=1e-5)
    cosine = (delta[0] @ delta[1]) / np.linalg.norm(delta[0]) / np.linalg.norm(delta[1])
    np.testing.assert_allclose(tensor.cosine, [cosine], atol=1e-6)
    assert tensor.conflicts == np.mean(delta[0] * delta[1] < 0)
    assert 1e-3 < tensor.rounding_loss < 0.2
    assert len(written["inputs"]["t1"]["model.safetensors"]["sha256"]) == 64


def test_config_and_tokenizer_come_from_the_pivot(tmp_path):
    pivot, targets = family(tmp_path, 2)
    (pivot / "tokenizer.json").write_text("{}")
    (pivot / "chat_template.jinja").write_text("hello")
    (pivot / "manifest.json").write_text("{}")
    merged(pivot, targets, Varm(), tmp_path / "out", dtype="bfloat16")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config == {"model_type": "llama", "dtype": "bfloat16"}
    assert (tmp_path / "out/chat_template.jinja").read_text() == "hello"
    assert (tmp_path / "out/tokenizer.json").is_file()
    assert not (tmp_path / "out/manifest.json").exists()
    assert not (tmp_path / "out/.merge").exists()


def test_whole_numbers_are_copied_and_must_agree(tmp_path):
    ids = torch.arange(9).reshape(3, 3)
    pivot = save(tmp_path / "p", {"ids": ids, "empty": torch.zeros(0, 4), "w": torch.ones(4)})
    same = save(tmp_path / "a", {"ids": ids, "empty": torch.zeros(0, 4), "w": torch.zeros(4)})
    other = save(tmp_path / "b", {"ids": ids + 1, "empty": torch.zeros(0, 4), "w": torch.zeros(4)})
    result, report = merged(pivot, {"a": same}, Varm(), tmp_path / "out")
    np.testing.assert_array_equal(result["ids"], ids.numpy())
    assert sorted(report.copied) == ["empty", "ids"]
    with pytest.raises(MergeError, match="ids"):
        merged(pivot, {"b": other}, Varm(), tmp_path / "out2")


def test_refusals_name_the_tensor_and_write_nothing(tmp_path):
    pivot, targets = family(tmp_path, 1)
    base = {name: torch.from_numpy(values).float() for name, values in load(pivot).items()}
    name = "model.layers.1.mlp.up_proj.weight"
    broken = {
        "missing": {k: v for k, v in base.items() if k != name},
        "extra": {**base, "model.layers.2.mlp.up_proj.weight": torch.ones(3)},
        "shaped": {**base, name: torch.ones(4, 16)},
        "nan": {
            **base,
            name: torch.full((40, 16), 1.0).index_put(
                (torch.tensor(3), torch.tensor(5)), torch.tensor(np.nan)
            ),
        },
        "inf": {**base, name: torch.full((40, 16), float("inf"))},
    }
    for kind, tensors in broken.items():
        folder = save(tmp_path / kind, tensors)
        for method in (Varm(), Linear(), Varm(granularity="element"), Varm(granularity="layer")):
            with pytest.raises(MergeError, match=r"mlp\.up_proj"):
                merged(pivot, {"t0": targets["t0"], kind: folder}, method, tmp_path / "out", threads=2)
            assert not (tmp_path / "out").exists()
    with pytest.raises(MergeError, match="element 53"):
        merged(pivot, {"nan": tmp_path / "nan"}, Varm(), tmp_path / "out")
    with pytest.raises(MergeError, match="too large"):
        big = save(tmp_path / "big", {k: v + 1e5 for k, v in base.items()})
        merged(pivot, {"big": big}, Linear(), tmp_path / "out", dtype="float16")


def test_a_model_that_is_there_is_not_replaced_unasked(tmp_path):
    pivot, targets = family(tmp_path, 2)
    merged(pivot, targets, Varm(), tmp_path / "out", shard_bytes=1000)
    with pytest.raises(MergeError, match="already"):
        merged(pivot, targets, Linear(), tmp_path / "out")
    merged(pivot, targets, Linear(), tmp_path / "out", overwrite=True)
    assert [p.name for p in sorted((tmp_path / "out").glob("model*"))] == ["model.safetensors"]


def test_a_finished_merge_is_not_made_again(tmp_path):
    pivot, targets = family(tmp_path, 2)
    settings = {"threads": 1, "shard_bytes": 3000}
    first = merge_models(pivot, targets, Varm(), tmp_path / "out", **settings)
    (tmp_path / "out/.merge").mkdir()  # killed while it was removed
    shard = next((tmp_path / "out").glob("model-00001*"))
    before = shard.stat()
    told = []
    assert merge_models(pivot, targets, Varm(), tmp_path / "out", progress=told.append, **settings) == first
    assert shard.stat() == before and sum(told) == first.bytes_written
    assert not (tmp_path / "out/.merge").exists()
    with pytest.raises(MergeError, match="already"):
        merge_models(pivot, targets, Varm(power=2), tmp_path / "out", **settings)
    shard.write_bytes(b"short")
    with pytest.raises(MergeError, match="already"):
        merge_models(pivot, targets, Varm(), tmp_path / "out", **settings)
    assert (
        merge_models(pivot, targets, Varm(), tmp_path / "out", overwrite=True, **settings).files
        == first.files
    )


def test_wrong_number_of_weights_is_refused(tmp_path):
    pivot, targets = family(tmp_path, 2)
    with pytest.raises(MergeError, match="3 values of `weight` for 2"):
        merged(pivot, targets, Linear(weight=(1, 2, 3)), tmp_path / "out")


def test_an_interrupted_merge_is_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionchat.merge.stream.writer._DURABLE_EVERY", 1500)
    monkeypatch.setattr("fusionchat.merge.stream.writer._BUFFER", 4096)
    pivot, targets = family(tmp_path, 2)
    settings = {"dtype": "float32", "threads": 2, "shard_bytes": 5000}
    expected = merge_models(pivot, targets, Varm(), tmp_path / "whole", **settings)
    rng = np.random.default_rng(0)
    for stop in rng.integers(0, 40_000, 20):
        written = 0

        def interrupt(count, stop=stop):
            nonlocal written
            written += count
            if written > stop:
                raise KeyboardInterrupt

        out = tmp_path / f"out{stop}"
        with pytest.raises(KeyboardInterrupt):
            merge_models(pivot, targets, Varm(), out, progress=interrupt, **settings)
            raise KeyboardInterrupt
        if (out / ".merge").exists():
            assert not list(out.glob("*.safetensors"))
            journal = out / ".merge/journal.jsonl"
            journal.write_text(journal.read_text() + '{"tensor": {"na')
        report = merge_models(pivot, targets, Varm(), out, overwrite=True, **settings)
        assert report.files == expected.files
        assert report.tensors == expected.tensors
        for file in expected.files:
            assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_merge_that_died_while_publishing_is_taken_up(tmp_path, monkeypatch):
    pivot, targets = family(tmp_path, 2)
    settings = {"threads": 1, "shard_bytes": 3000}
    expected = merge_models(pivot, targets, Varm(), tmp_path / "whole", **settings)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fusionchat.merge.stream.merge.copy_surroundings", die)
        with pytest.raises(KeyboardInterrupt):
            merge_models(pivot, targets, Varm(), tmp_path / "out", **settings)
    assert not (tmp_path / "out/config.json").exists()
    report = merge_models(pivot, targets, Varm(), tmp_path / "out", **settings)
    assert report.files == expected.files
    assert load(tmp_path / "out").keys() == load(tmp_path / "whole").keys()


def test_work_of_another_merge_is_not_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionchat.merge.stream.writer._DURABLE_EVERY", 1)
    monkeypatch.setattr("fusionchat.merge.stream.writer._BUFFER", 4096)
    pivot, targets = family(tmp_path, 2)

    def interrupt(count):
        if count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_models(pivot, targets, Linear(), tmp_path / "out", progress=interrupt, threads=1)
    report = merge_models(pivot, targets, Varm(), tmp_path / "out", threads=1)
    assert report.files == merge_models(pivot, targets, Varm(), tmp_path / "again", threads=1).files


@pytest.mark.parametrize("damage", ["short", "header", "tail", "index", "gone", "lacks", "pickle", "empty"])
def test_damaged_checkpoints_are_refused(tmp_path, damage):
    pivot, targets = family(tmp_path, 1, shards=2 if damage in ("index", "gone", "lacks") else 1)
    folder = targets["t0"]
    file = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    if damage == "short":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "header":
        file.write_bytes(struct.pack("<Q", 10**7) + file.read_bytes()[8:])
    elif damage == "tail":
        file.write_bytes(file.read_bytes() + b"1234")
    elif damage == "index":
        index.write_text(index.read_text().replace("model-00001", "../pivot/model-00001"))
    elif damage == "gone":
        (folder / "model-00001-of-00002.safetensors").unlink()
    elif damage == "lacks":
        shutil.copy(folder / "model-00002-of-00002.safetensors", folder / "model-00001-of-00002.safetensors")
    elif damage == "pickle":
        file.rename(folder / "pytorch_model.bin")
    elif damage == "empty":
        file.unlink()
    with pytest.raises(MergeError):
        merged(pivot, targets, Varm(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_fused_model_opens_in_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    for n, name in enumerate(["pivot", "a", "b"]):
        torch.manual_seed(n)
        transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / name)
    targets = {"a": tmp_path / "a", "b": tmp_path / "b"}
    merge_models(tmp_path / "pivot", targets, Linear(), tmp_path / "out", dtype="bfloat16", threads=1)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    mean = (load(tmp_path / "a")["lm_head.weight"] + load(tmp_path / "b")["lm_head.weight"]) / 2
    np.testing.assert_array_equal(model.lm_head.weight.double().detach().numpy(), reference.to_bf16(mean))


def test_what_decides_the_bytes_tells_merges_apart(tmp_path):
    """A finished merge is made again where order, vocabulary rule, layers or a small file changed."""
    pivot, targets = family(tmp_path, 2)
    settings = {"threads": 1, "overwrite": False}
    merge_models(pivot, targets, Linear(weight=(1.0, 3.0)), tmp_path / "out", **settings)
    turned = dict(reversed(list(targets.items())))
    changed = [
        lambda: merge_models(pivot, turned, Linear(weight=(1.0, 3.0)), tmp_path / "out", **settings),
        lambda: merge_models(
            pivot, targets, Linear(weight=(1.0, 3.0)), tmp_path / "out", embeddings="pivot", **settings
        ),
    ]
    for again in changed:
        with pytest.raises(MergeError, match="already"):
            again()
    (pivot / "chat_template.jinja").write_text("new")
    with pytest.raises(MergeError, match="already"):
        merge_models(pivot, targets, Linear(weight=(1.0, 3.0)), tmp_path / "out", **settings)


def test_checksums_asked_for_later_are_added_to_a_finished_report(tmp_path):
    pivot, targets = family(tmp_path, 1)
    first = merge_models(pivot, targets, Linear(), tmp_path / "out")
    assert first.inputs["t0"]["model.safetensors"].sha256 == ""
    report = merge_models(pivot, targets, Linear(), tmp_path / "out", hash_inputs=True)
    held = json.loads((tmp_path / "out/merge_weights.json").read_text())["inputs"]["t0"]["model.safetensors"]
    assert len(report.inputs["t0"]["model.safetensors"].sha256) == len(held["sha256"]) == 64


def test_inputs_and_strangers_files_are_not_written_over(tmp_path):
    pivot, targets = family(tmp_path, 1)
    for place in (pivot, targets["t0"], tmp_path):
        with pytest.raises(MergeError, match="overwrite its input"):
            merge_models(pivot, targets, Linear(), place, overwrite=True)
    assert (pivot / "config.json").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(MergeError, match=r"not empty .notes\.txt"):
        merge_models(pivot, targets, Linear(), tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_two_merges_cannot_write_into_one_folder(tmp_path):
    pivot, targets = family(tmp_path, 1)

    def second(_):
        merge_models(pivot, targets, Linear(), tmp_path / "out", threads=1)

    with pytest.raises(MergeError, match="Another merge"):
        merge_models(pivot, targets, Linear(), tmp_path / "out", threads=1, progress=second)
    merge_models(pivot, targets, Linear(), tmp_path / "out", threads=1)


def test_nan_in_a_pivot_without_targets_is_refused(tmp_path):
    tensors = random_tensors(0)
    tensors["model.norm.weight"].view(torch.int32)[3] = -1  # a NaN with all bits set
    pivot = save(tmp_path / "pivot", tensors, config={"model_type": "llama", "num_hidden_layers": 2})
    with pytest.raises(MergeError, match=r"model\.norm\.weight has a value that is not finite"):
        merge_models(pivot, {}, Passthrough(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_merging_does_not_import_torch(tmp_path):
    pivot, targets = family(tmp_path, 2)
    code = f"""
import sys
from pathlib import Path
from fusionchat.merge.methods.sce import Sce
from fusionchat.merge.stream.merge import merge_models
targets = {{"a": Path({str(targets["t0"])!r}), "b": Path({str(targets["t1"])!r})}}
merge_models(Path({str(pivot)!r}), targets, Sce(), Path({str(tmp_path / "out")!r}))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
