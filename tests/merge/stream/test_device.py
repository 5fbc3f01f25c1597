"""The device's form of every method, on PyTorch's CPU device, against the compiled loops: the same bytes.

Where a weight comes from sums over a tensor (inner products; SCE's squares) the sums are float64 there and float32
in spans of 1,024 here: weights agree to 2e-6, and given the same sums the bytes are the same again.
"""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from fusionchat.errors import MachineError, MergeError
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.merge.inputs.plan import Job
from fusionchat.merge.kernels import blocks as kernels
from fusionchat.merge.kernels import consensus, elements, masks, selection
from fusionchat.merge.kernels.blocks import Kernel
from fusionchat.merge.methods.base import MixtureMethod
from fusionchat.merge.methods.dare import DareLinear, DareTies, Della
from fusionchat.merge.methods.fisher import Fisher
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from fusionchat.merge.methods.sce import Sce
from fusionchat.merge.methods.ties import Breadcrumbs, Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream import work
from fusionchat.merge.stream.device import HOST, Accelerator, Host, Spare, place_of
from fusionchat.merge.stream.merge import merge_models
from fusionchat.merge.stream.work import TensorWork
from tests.merge.folders import SHAPES, family, load, random_tensors, save
from tests.merge.inputs.test_prepare import adapter
from tests.merge.methods.arrays import EVERY, Held, in_order, tensors
from tests.merge.methods.conftest import small_chunks  # noqa: F401 - a fixture

DTYPES = ("bfloat16", "float16", "float32")
METHODS = [
    *EVERY, Fisher(), Fisher(weight=(2.0, 0.0, 1.0)), *(Varm(granularity="element", power=p) for p in (0, 0.5, 2)),
    Linear(weight=(0.3, 0.9, -0.1)), TaskArithmetic(weight=(1.0, 0.5, -0.3), normalize=True),
    Ties(density=0.0), Ties(density=1.0, weight=(1.0, -1.0, 0.0)), Ties(density=1.0, weight=(1.0, 0.5, 2.0), scale=0.7),
    Sce(select_topk=1.0), Sce(select_topk=0.0),
    DareLinear(density=(0.0, 1.0, 0.3), weight=(1.0, 0.4, 0.7), normalize=True), DareTies(density=0.9, normalize=True),
    Della(density=(0.3, 1.0, 0.6), epsilon=0.1), Breadcrumbs(density=0.5, gamma=0.3, weight=(1.0, -0.5, 2.0)),
]  # fmt: skip


def cpu_device():
    return Accelerator(torch.device("cpu"))


def start(method, sources, dtype, place, gram=None):
    auxiliary = ()
    if isinstance(method, Fisher):
        shape = (len(sources) - 1, *sources[0].shape)
        information = np.random.default_rng(3).exponential(1e-8, shape).astype(np.float32)
        information[:, :10] = 0
        information[0, 10:20] = 0
        auxiliary = tuple(Held(i) for i in information)
    task = TensorWork(Job("w", sources[0].shape, sources, auxiliary), method, dtype, place=place, gram=gram)
    task.prepare(in_order)
    return task


def finish(task):
    return np.concatenate(list(task.combine(in_order))), task.report()


def both(method, sources, dtype):
    """Bytes and reports of host and device, the device with the host's sums where weights come from them."""
    host = start(method, sources, dtype, HOST)
    known = host.gram if isinstance(method, MixtureMethod) else None
    device = start(method, sources, dtype, cpu_device(), known)
    if isinstance(method, Sce):
        np.testing.assert_allclose(device.program.weight_J, host.program.weight_J, rtol=2e-6)
        device.program.weight_J = host.program.weight_J
    return finish(host), finish(device)


def held(seed=0, bf16=True, **settings):
    pivot, targets = tensors(seed, bf16=bf16, **settings)
    return tuple(Held(np.ascontiguousarray(a)) for a in (pivot, *targets))


def assert_same(host, device):
    np.testing.assert_array_equal(host[0].view(np.uint8), device[0].view(np.uint8))
    mine, theirs = dataclasses.asdict(host[1]), dataclasses.asdict(device[1])
    for key in ("name", "shape", "conflicts", "kept", "ties"):
        assert mine[key] == theirs[key], key
    assert mine.keys() == theirs.keys()
    for key in mine.keys() - {"name", "shape"}:
        np.testing.assert_allclose(mine[key], theirs[key], rtol=2e-6, atol=1e-7, err_msg=key)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_same_bytes_and_report(method, dtype):
    sources = held(targets=2 if method.targets[1] == 2 else 3)
    host, device = both(method, sources, dtype)
    assert len(host[0]) > kernels.BLOCK  # several chunks
    assert_same(host, device)


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_float32_inputs_of_other_sizes(method, monkeypatch):
    monkeypatch.setattr(work, "CHUNK", 3 * kernels.BLOCK)
    sources = held(1, bf16=False, shape=(331, 611), targets=2, scale=3e-2)
    assert_same(*both(method, sources, "bfloat16"))


@pytest.mark.parametrize("shape", [(5000,), (1, 4000), (4000, 1), (3, 4, 700), (1,)])
def test_rows_of_every_length(shape):
    for method in (Della(), DareLinear(), Ties(), Sce()):
        assert_same(*both(method, held(shape=shape), "bfloat16"))


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_changes_of_every_size(method):
    """From nothing to subnormal to large in one row: more octaves than ranks tell apart."""
    rng = np.random.default_rng(5)
    delta = rng.normal(size=(2, 40, 900)) * 10.0 ** rng.uniform(-44, 3, (2, 40, 900))
    delta[rng.random(delta.shape) < 0.1] = 0
    zero = np.zeros((40, 900), np.float32)
    sources = (Held(zero), *(Held(d.astype(np.float32)) for d in delta))
    assert_same(*both(method, sources, "float32"))


ONE = [m for m in EVERY if m.targets[0] == 1]


@pytest.mark.parametrize("method", ONE, ids=repr)
def test_one_target(method):
    assert_same(*both(method, held(targets=1), "bfloat16"))


@pytest.mark.parametrize("method", [m for m in EVERY if isinstance(m, MixtureMethod)], ids=repr)
def test_with_sums_of_its_own_the_weights_agree(method):
    sources = held(bf16=False, targets=2, scale=0.02)
    host, device = (finish(start(method, sources, "float32", place)) for place in (HOST, cpu_device()))
    np.testing.assert_allclose(device[1].weights, host[1].weights, rtol=2e-6)
    np.testing.assert_allclose(device[0], host[0], rtol=2e-6, atol=1e-8)
    assert device[1].conflicts == host[1].conflicts


def test_sums_of_a_device_are_those_of_float64():
    sources = held(bf16=False)
    gram = start(Varm(), sources, "float32", cpu_device()).gram
    delta = np.stack([s.values - sources[0].values for s in sources[1:]]).reshape(3, -1).astype(np.float64)
    np.testing.assert_allclose(gram.products_NN[1:, 1:], delta @ delta.T, rtol=1e-11)
    assert (gram.products_NN[0] == 0).all()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_not_finite_inputs_are_named(method):
    for value in (np.nan, np.inf):
        sources = held(shape=(40, 60), targets=2 if method.targets[1] == 2 else 3)
        sources[1].values[3, 4] = value
        with pytest.raises(MergeError, match="element 184"):
            finish(start(method, sources, "bfloat16", cpu_device()))


def test_values_too_large_for_float16_are_refused():
    sources = tuple(Held(np.full((40, 60), v, np.float32)) for v in (1e5, 1e5))
    with pytest.raises(MergeError, match="too large"):
        finish(start(Linear(), sources, "float16", cpu_device()))


def test_rounding_is_done_once():
    """Halves of the narrow type, moved off by less than float32 can say, subnormals, and the largest numbers."""
    rng = np.random.default_rng(0)
    value = np.concatenate([rng.normal(0, s, 3000) for s in (1, 1e-4, 6e-8, 1e-40, 3e4)])
    with np.errstate(over="ignore"):
        small = value.astype(np.float16)
    narrow = np.concatenate(
        [
            small.astype(np.float64),
            (value.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32),
        ]
    )
    halves = narrow * (1 + 2.0**-11)
    value = np.concatenate(
        [value, halves, halves * (1 + 2.0**-40), halves * (1 - 2.0**-40), [0.0, -0.0, 65519.9, 65520.0]]
    )
    pivot = np.zeros(value.size, np.float32)
    for kind, dtype in (("uint16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)):
        raw, sums = np.empty(value.size, kind), np.zeros(3)
        kernels.store(value.copy(), pivot, raw, sums)
        made, counted = torch.empty(value.size, dtype=dtype), np.zeros(3)
        kernels.store(torch.from_numpy(value.copy()), torch.from_numpy(pivot), made, counted)
        np.testing.assert_array_equal(raw.view(np.uint8), made.view(torch.uint8).numpy())
        np.testing.assert_allclose(counted[:2], sums[:2], rtol=1e-12)
        assert bool(counted[2]) == bool(sums[2])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_stored_tensors_arrive_as_the_host_decodes_them(tmp_path, dtype):
    values = torch.randn(3, 50_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-3
    folder = save(tmp_path / "m", {"w": values.to(getattr(torch, dtype))})
    checkpoint = open_checkpoint(folder)
    stored, place = checkpoint.tensors["w"], cpu_device()
    for begin, size in ((0, 70_000), (70_000, 10), (123, 150_000 - 123)):
        expected, made = np.empty(size, np.float32), torch.empty(size)
        stored.decode(begin, expected)
        place.load(stored, begin, made, kernels.BLOCK)
        np.testing.assert_array_equal(made.numpy(), expected)
    del stored
    checkpoint.close()


def test_a_block_is_a_whole_chunk(monkeypatch):
    monkeypatch.setattr(work, "CHUNK", 4 * kernels.BLOCK)
    place, seen = cpu_device(), []
    load = place.load
    monkeypatch.setattr(
        place,
        "load",
        lambda source, begin, out, step: (seen.append(len(out)), load(source, begin, out, step)),
    )
    sources = held(shape=(500, 300), targets=1)
    finish(start(Linear(), sources, "bfloat16", place))
    assert seen == [131_072] * 2 + [18_928] * 2
    seen.clear()
    finish(start(Della(), sources, "bfloat16", place))
    assert set(seen) == {4 * 109 * 300, 150_000 - 4 * 109 * 300}


@pytest.fixture
def on_device(monkeypatch):
    """Makes ``device="cuda"`` PyTorch's CPU device."""
    monkeypatch.setattr(
        "fusionchat.merge.stream.merge.place_of", lambda name: HOST if name == "cpu" else cpu_device()
    )


def test_a_whole_merge(tmp_path, on_device):
    shapes = {**SHAPES, "big": (401, 500)}
    pivot, targets = family(tmp_path, 3, dtype="bfloat16", shapes=shapes)
    for n, method in enumerate((Linear(), Ties(), Della(), DareTies())):
        host = merge_models(pivot, targets, method, tmp_path / f"host{n}", threads=1)
        device = merge_models(pivot, targets, method, tmp_path / f"device{n}", threads=3, device="cuda")
        assert device.files == host.files
        assert device.fingerprint == host.fingerprint  # either takes the other's work up


def vocabulary(folder, added):
    tokens = {f"t{n}": n for n in range(60)}
    entries = [{"id": 60 + n, "content": text, "special": True} for n, text in enumerate(added)]
    text = json.dumps({"model": {"vocab": tokens}, "added_tokens": entries})
    (folder / "tokenizer.json").write_text(text)


def test_lora_and_a_union_of_vocabularies(tmp_path, on_device):
    config = {"model_type": "llama", "vocab_size": 60}
    base = random_tensors(0)
    pivot = save(tmp_path / "pivot", base, config=config)
    vocabulary(pivot, [])
    more = random_tensors(1, base, 1e-3)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        more[name] = torch.cat([more[name], torch.randn(2, 16)])
    full = save(tmp_path / "full", more, config={**config, "vocab_size": 62})
    vocabulary(full, ["<a>", "<b>"])
    name = "base_model.model.model.layers.0.mlp.up_proj"
    factors = {f"{name}.lora_A.weight": torch.randn(2, 16), f"{name}.lora_B.weight": torch.randn(40, 2)}
    lora = adapter(tmp_path / "lora", factors)
    targets, results = {"full": full, "lora": lora}, []
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        report = merge_models(
            pivot, targets, TaskArithmetic(), out, embeddings="union", dtype="float32", device=device
        )
        results.append((report.files, load(out)["lm_head.weight"].shape))
    assert results[0] == results[1]
    assert results[0][1] == (62, 16)


def test_names_of_devices():
    assert isinstance(place_of("cpu"), Host)
    for name, reason in (
        ("mps", "float64"),
        ("mps:0", "float64"),
        ("gpu", "no device 'gpu'"),
        ("cuda:x", "no device"),
    ):
        with pytest.raises(MergeError, match=reason):
            place_of(name)
    if not torch.cuda.is_available():
        with pytest.raises(MergeError, match=r"no device cuda:3 here(.|\n)*use device: cpu"):
            place_of("cuda:3")


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    pivot, targets = family(tmp_path, 1)
    with pytest.raises(MergeError, match="mps"):
        merge_models(pivot, targets, Linear(), tmp_path / "out", device="mps")
    assert not (tmp_path / "out").exists()


def test_a_full_device_is_an_error_of_the_machine(tmp_path, on_device, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Accelerator, "load", full)
    pivot, targets = family(tmp_path, 1)
    with pytest.raises(MachineError, match="fewer threads"):
        merge_models(pivot, targets, Linear(), tmp_path / "out", device="cuda", threads=2)


def test_every_kernel_has_a_twin():
    rooms = (kernels, consensus, elements, masks, selection)
    found = [value for room in rooms for value in vars(room).values() if isinstance(value, Kernel)]
    assert len(set(found)) > 15
    for kernel in found:
        assert kernel.twin.__name__ == "_", kernel.__name__


def test_a_kernel_without_a_twin_says_so():
    @Kernel
    def only_here(value_B):
        return value_B.sum()

    assert only_here(np.ones(3)) == 3
    with pytest.raises(MergeError, match="only_here has no form"):
        only_here(torch.ones(3))


def test_merging_on_the_cpu_does_not_import_torch(tmp_path):
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


def test_spare_arrays_are_used_again_but_never_while_they_are_lent() -> None:
    spare, kind = Spare(), np.dtype(np.uint16)
    first, second = spare.take(20, kind), spare.take(10, kind)
    assert not np.shares_memory(first, second)
    spare.give(first)
    third = spare.take(10, kind)
    assert third.shape == (10,) and np.shares_memory(first, third) and not np.shares_memory(second, third)
    spare.give(np.zeros(10, kind))  # not from here
    assert not np.shares_memory(spare.take(10, kind), second)
    spare.give(third)
    assert spare.take(2**22, np.dtype(np.float32)).shape == (2**22,)  # larger than what is there
