"""`auto` is chosen once a run: the same dtype on every machine that goes on with it."""

import json

import pytest
import torch

from fusionchat.errors import ArtifactError, MachineError
from fusionchat.models import logits
from fusionchat.models.precision import SMALL, capture_dtype_here, dtype_here, torch_dtype
from fusionchat.recipe.schema import load_recipe
from fusionchat.run import auto
from fusionchat.run.auto import resolve
from fusionchat.stages.pipeline import open_run, run

HERE = {"represent.dtype": "float32", "represent.batch_tokens": 2048, "evaluate.dtype": "float32"}
"""What a CPU chooses for models as small as the tests'."""


@pytest.fixture
def a_gpu(monkeypatch):
    """From when it is called, this machine chooses as one with a GPU does."""

    def chosen(device, *_):
        return "bfloat16"

    def begin():
        monkeypatch.setattr(auto, "dtype_here", chosen)
        monkeypatch.setattr(auto, "capture_dtype_here", chosen)
        monkeypatch.setattr(auto, "device_here", lambda device: "cuda")

    return begin


def fingerprints():
    return {job.id: job.fingerprint for job in open_run(load_recipe("recipe.yaml")).jobs.values()}


def test_auto_has_one_value_in_a_run_whichever_machine_goes_on(tiny, a_gpu):
    run(load_recipe("recipe.yaml"), until="corpus")
    begun = fingerprints()
    assert json.loads((tiny / "runs/tiny/resolved.json").read_text()) == HERE
    a_gpu()
    assert fingerprints() == begun
    resolved = resolve(load_recipe("recipe.yaml"))
    assert resolved.values == HERE
    assert [line.split(":")[0] for line in resolved.notices()] == list(HERE)
    assert "this machine would choose bfloat16" in resolved.notices()[0]


def test_a_run_that_another_machine_starts_has_other_fingerprints(tiny, a_gpu):
    here = fingerprints()
    a_gpu()
    there = fingerprints()
    moved = {job for job in here if here[job] != there[job]}
    assert {"represent/pivot", "evaluate/test/pivot", "align/qwen"} <= moved
    assert not {"corpus/corpus", "distill/sft"} & moved


def test_planning_writes_nothing_and_says_what_auto_is(tiny):
    resolved = open_run(load_recipe("recipe.yaml")).resolved
    assert resolved.describe() == (
        "represent.dtype: auto = float32, represent.batch_tokens: auto = 2048, evaluate.dtype: auto = float32"
    )
    assert resolved.notices() == [] and not (tiny / "runs").exists()


def test_what_is_given_is_taken_and_not_kept(tiny):
    recipe = load_recipe(
        "recipe.yaml", ("represent.dtype=bfloat16", "evaluate.dtype=float32", "represent.batch_tokens=512")
    )
    run(recipe, until="corpus")
    resolved = resolve(recipe)
    assert resolved.values == {
        "represent.dtype": "bfloat16",
        "evaluate.dtype": "float32",
        "represent.batch_tokens": 512,
    }
    assert resolved.describe() == "" and not (tiny / "runs/tiny/resolved.json").exists()


def test_the_dtype_of_the_capture_is_not_that_of_evaluation(tiny):
    resolved = resolve(load_recipe("recipe.yaml", ("represent.dtype=float16",)))
    assert resolved.dtype("represent.dtype") == "float16" and resolved.dtype("evaluate.dtype") == "float32"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"represent.dtype": "int3"}',
        '{"represent.batch_tokens": 0}',
        '{"represent.batch_tokens": "many"}',
    ],
)
def test_a_damaged_note_is_named_and_only_it_is_to_be_removed(tiny, text):
    run(load_recipe("recipe.yaml"), until="corpus")
    (tiny / "runs/tiny/resolved.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"resolved\.json") as error:
        resolve(load_recipe("recipe.yaml"))
    assert "remove it" in str(error.value)


@pytest.mark.parametrize(
    ("capability", "device", "expected"),
    [((9, 0), "auto", "bfloat16"), ((7, 5), "auto", "float32"), ((7, 5), "cuda:0", "float32"),
     ((7, 5), "cuda:9", "bfloat16"), ((7, 5), "cpu", "float32"), ((9, 0), "cuda", "bfloat16")],
)  # fmt: skip
def test_what_a_machine_chooses(monkeypatch, capability, device, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=None: capability)
    assert dtype_here(device) == expected


@pytest.mark.parametrize("multiplies", [True, False])
def test_a_capture_on_a_cpu_takes_bfloat16_where_that_is_multiplied_and_a_model_is_large(
    monkeypatch, multiplies
):
    monkeypatch.setattr(logits, "cpu_multiplies_bf16", lambda: multiplies)
    large = "bfloat16" if multiplies else "float32"
    assert capture_dtype_here("cpu", [SMALL - 1, 5]) == "float32"
    assert [capture_dtype_here("cpu", sizes) for sizes in ([SMALL], [5, None], [])] == [large] * 3
    assert dtype_here("cpu") == "float32"


def test_a_processor_is_asked_in_words_that_torch_may_not_have(monkeypatch):
    logits.cpu_multiplies_bf16.cache_clear()
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert not logits.cpu_multiplies_bf16()
    logits.cpu_multiplies_bf16.cache_clear()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert logits.cpu_multiplies_bf16()
    logits.cpu_multiplies_bf16.cache_clear()


def test_a_gpu_that_is_named_and_not_here_can_be_planned_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (dtype_here("cuda"), dtype_here("cuda:3"), dtype_here("cpu")) == (
        "bfloat16",
        "bfloat16",
        "float32",
    )


@pytest.mark.parametrize("where", ["represent.dtype", "evaluate.dtype", "distill.precision"])
def test_a_half_precision_that_the_machine_cannot_run_is_named(monkeypatch, where):
    def refuse(*_, **__):
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")

    device = torch.device("cpu")
    assert torch_dtype("bfloat16", device, where=where) is torch.bfloat16
    monkeypatch.setattr(torch, "ones", refuse)
    with pytest.raises(MachineError, match="cannot compute in float16") as error:
        torch_dtype("float16", device, where=where)
    assert f"--set {where}=" in str(error.value)
