"""`auto` is chosen once a run: the same dtype on every machine that goes on with it."""

import json

import pytest
import torch

from fusionchat.errors import ArtifactError, MachineError
from fusionchat.models.precision import dtype_here, torch_dtype
from fusionchat.recipe.schema import load_recipe
from fusionchat.run import auto as precision
from fusionchat.run.auto import resolve_dtypes
from fusionchat.stages.pipeline import open_run, run

AUTO = ("represent.dtype", "evaluate.dtype")


@pytest.fixture
def a_gpu(monkeypatch):
    """From when it is called, this machine chooses as one with a GPU does."""
    return lambda: monkeypatch.setattr(precision, "dtype_here", lambda device: "bfloat16")


def fingerprints():
    return {job.id: job.fingerprint for job in open_run(load_recipe("recipe.yaml")).jobs.values()}


def test_auto_has_one_value_in_a_run_whichever_machine_goes_on(tiny, a_gpu):
    run(load_recipe("recipe.yaml"), until="corpus")
    begun = fingerprints()
    assert json.loads((tiny / "runs/tiny/resolved.json").read_text()) == dict.fromkeys(AUTO, "float32")
    a_gpu()
    assert fingerprints() == begun
    dtypes = resolve_dtypes(load_recipe("recipe.yaml"))
    assert dtypes.values == dict.fromkeys(AUTO, "float32")
    assert [line.split(":")[0] for line in dtypes.notices()] == list(AUTO)
    assert "this machine would choose bfloat16" in dtypes.notices()[0]


def test_a_run_that_another_machine_starts_has_other_fingerprints(tiny, a_gpu):
    here = fingerprints()
    a_gpu()
    there = fingerprints()
    moved = {job for job in here if here[job] != there[job]}
    assert {"represent/pivot", "evaluate/test/pivot", "align/qwen"} <= moved
    assert not {"corpus/corpus", "distill/sft"} & moved


def test_planning_writes_nothing_and_says_what_auto_is(tiny):
    dtypes = open_run(load_recipe("recipe.yaml")).dtypes
    assert dtypes.describe() == "represent.dtype: auto = float32, evaluate.dtype: auto = float32"
    assert dtypes.notices() == [] and not (tiny / "runs").exists()


def test_what_is_given_is_taken_and_not_kept(tiny):
    recipe = load_recipe("recipe.yaml", ("represent.dtype=bfloat16", "evaluate.dtype=float32"))
    run(recipe, until="corpus")
    dtypes = resolve_dtypes(recipe)
    assert dtypes.values == {"represent.dtype": "bfloat16", "evaluate.dtype": "float32"}
    assert dtypes.describe() == "" and not (tiny / "runs/tiny/resolved.json").exists()


def test_the_dtype_of_the_capture_is_not_that_of_evaluation(tiny):
    dtypes = resolve_dtypes(load_recipe("recipe.yaml", ("represent.dtype=float16",)))
    assert dtypes.of("represent.dtype") == "float16" and dtypes.of("evaluate.dtype") == "float32"


@pytest.mark.parametrize("text", ["", "{", '{"represent.dtype": "int3"}'])
def test_a_damaged_note_is_named_and_only_it_is_to_be_removed(tiny, text):
    run(load_recipe("recipe.yaml"), until="corpus")
    (tiny / "runs/tiny/resolved.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"resolved\.json") as error:
        resolve_dtypes(load_recipe("recipe.yaml"))
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
