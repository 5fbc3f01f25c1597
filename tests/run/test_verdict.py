"""Whether jobs fit, and what to change."""

import json
from types import SimpleNamespace

import pytest

from fusionchat.devices import Machines
from fusionchat.distill.footprint import Shape
from fusionchat.errors import RecipeError
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import load_recipe
from fusionchat.run import training_memory, verdict
from fusionchat.run.job import Cost, Job, Resources
from fusionchat.run.verdict import Devices, Verdict, devices_of, lacking, ranks_on, verdicts
from fusionchat.settings import Frozen
from tests.structure import ROOT

GB = 10**9
MISTRAL = Shape(4096, 4096, 1024, 14336, 32, 32002, False, 7_242_000_000)


def gpus(count, memory, nodes=1):
    return Devices(Machines(nodes, count, memory * GB), True, 100.0)


@pytest.fixture
def seven(tiny, monkeypatch):
    """Recipes of a pivot with 7 billion parameters."""
    monkeypatch.setattr(training_memory, "shape_of", lambda _ref: MISTRAL)
    monkeypatch.setattr(training_memory, "trained_parameters", lambda *_: None)

    def get(*settings):
        return load_recipe(
            "recipe.yaml",
            (
                "corpus.max_tokens=2048",
                "distill.batch_size=128",
                "runtime.micro_batch_tokens=2048",
                *settings,
            ),
        )

    return get


def job(name, memory=None, flops=None, gpus=0):
    stage, _, own = name.partition("/")
    return Job(
        stage=stage,
        name=own,
        version=1,
        settings=Frozen(),
        cost=Cost(0.0, flops),
        resources=Resources(memory=memory, gpus=gpus),
    )


def one(recipe, what, devices):
    (found,) = verdicts([what], recipe, recipe.refs(), devices)
    return found


def test_full_training_of_7b_needs_eight_gpus_that_share_it(seven):
    """16 bytes a parameter are 116 GB: too many for 80, and an eighth of them is not."""
    plain = one(seven("distill.precision=fp32"), job("distill/sft"), gpus(8, 80))
    assert plain.fits is False and 116 * GB < plain.needs < 160 * GB and plain.has == 76 * GB
    assert plain.change.startswith("set runtime.training.strategy: fsdp2: ")
    shared = one(
        seven("distill.precision=fp32", "runtime.training.strategy=fsdp2"), job("distill/sft"), gpus(8, 80)
    )
    assert shared.fits and shared.needs < 60 * GB and shared.change == ""


def test_hours_are_operations_by_what_the_devices_reach(seven):
    work = job("distill/sft", flops=8 * 3600 * 100e12)
    assert one(seven(), work, gpus(8, 80)).hours == pytest.approx(1.0)
    assert one(seven("runtime.training.processes=2"), work, gpus(8, 80)).hours == pytest.approx(4.0)
    assert one(seven(), work, gpus(8, 80)._replace(tflops=None)).hours is None


def test_workers_share_a_capture_and_no_evaluation():
    recipe = load_recipe(ROOT / "recipes/paper_7b.yaml")
    own = Resources(memory=9e9, gpus=2, parallel="shards")
    work = job("represent/mixtral", flops=16 * 3600 * 100e12).model_copy(update={"resources": own})
    alone = work.model_copy(update={"resources": own.model_copy(update={"parallel": "one"})})
    assert recipe.runtime.workers == 8
    found = [verdicts([each], recipe, {}, gpus(8, 80))[0].hours for each in (work, alone)]
    assert found == [pytest.approx(2.0), pytest.approx(8.0)]


def test_more_processes_than_gpus_do_not_fit(seven):
    found = one(seven("runtime.training.processes=4"), job("distill/sft"), gpus(2, 80))
    assert found.fits is False and "set runtime.training.processes to 2" in found.change


def test_processes_of_a_cpu_share_its_memory(seven):
    host = Devices(Machines(1, 1, 100 * GB), False)
    recipe = seven("runtime.training.processes=2")
    assert (ranks_on(recipe, host), ranks_on(seven(), host), ranks_on(seven(), gpus(8, 80, 4))) == (2, 1, 8)
    assert one(recipe, job("distill/sft"), host).has == pytest.approx(0.95 * 50 * GB)


def test_a_capture_that_is_too_large_may_be_spread_quantized_or_made_elsewhere(seven, monkeypatch):
    monkeypatch.setattr(verdict, "parameters", lambda _ref: 46_700_000_000)
    what = job("represent/mixtral", memory=95e9, gpus=1)
    spread = one(seven(), what, gpus(8, 80))
    assert spread.fits is False and spread.change.startswith(
        "sources.mixtral.capture: {device_map: auto, gpus: 2}; or sources.mixtral.capture.quantization in 4 bits (28 GB); or"
    )
    small = one(seven(), what, gpus(1, 24))
    assert small.change == (
        "sources.mixtral.capture: an endpoint that serves it; or make its shards on a larger machine that has the run's "
        "folder (run --only represent/mixtral)"
    )
    row = one(seven(), job("evaluate/test/sources/mixtral", memory=95e9, gpus=1), gpus(1, 24))
    assert "make this job on a larger machine" in row.change
    assert one(
        seven(), what.model_copy(update={"resources": Resources(memory=95e9, gpus=2)}), gpus(8, 80)
    ).fits
    assert not one(
        seven(), what.model_copy(update={"resources": Resources(memory=95e9, gpus=2)}), gpus(1, 80)
    ).fits
    row = one(seven(), job("evaluate/test/varm@0.5", memory=95e9, gpus=1), gpus(1, 80))
    assert row.change == "set evaluate.dtype: bfloat16: 48 GB"
    pivot = one(seven(), job("evaluate/test/pivot", memory=95e9, gpus=1), gpus(1, 24))
    assert pivot.change.startswith("use a device with more memory")


def test_what_is_not_known_is_not_judged(seven):
    assert one(seven(), job("represent/mixtral", gpus=1), gpus(1, 80)).fits is None
    assert one(seven("corpus.train=org/name"), job("fuse/all"), gpus(1, 80)).fits is None


def test_what_computes_without_a_gpu_needs_the_hosts_memory(seven):
    """A named machine has as much as its GPUs together; that of this machine is known."""
    no_gpu = Devices(Machines(1, 1, 8 * GB), False)
    for name in ("corpus/corpus", "merge/varm@0.5", "evaluate/test/pivot"):
        found = one(seven(), job(name, memory=3e9 if "eval" in name else None), no_gpu)
        assert found.fits and found.on_host == ("eval" not in name), name
    for name in ("corpus/corpus", "align/qwen", "fuse/all", "merge/varm@0.5", "report/report"):
        found = one(seven(), job(name), gpus(8, 80, 2))
        assert found.fits and found.on_host and found.has == pytest.approx(0.95 * 640 * GB), name
    served = one(seven(), job("represent/qwen", memory=2 * GB), gpus(1, 24)._replace(host=GB))
    assert served.on_host and served.fits is False and served.hours == 0.0
    assert "corpus.train.limit" in served.change


def test_processes_that_share_a_model_read_it_into_the_hosts_memory_first(seven, monkeypatch):
    """232 GB for eight of 7.24 billion parameters in float32, docs/training.md."""
    monkeypatch.setattr(verdict, "parameters", lambda _ref: 7_242_000_000)
    recipe = seven("runtime.training.strategy=fsdp2")
    found = one(recipe, job("distill/sft"), gpus(8, 80))
    assert found.fits and found.besides == pytest.approx(232e9, rel=0.01)
    little = one(recipe, job("distill/sft"), gpus(8, 80)._replace(host=64 * GB))
    assert little.fits is False and "8 processes first reads the model" in little.change
    assert one(seven(), job("distill/sft"), gpus(8, 80)).besides == 0


def test_adapted_sources_are_judged_by_their_own_settings(seven):
    recipe = seven("adapt={train: full, precision: fp32}")
    found = one(recipe, job("adapt/qwen"), gpus(1, 80))
    assert found.fits is False and found.change.startswith("set ") and "adapt." in found.change
    assert one(seven("adapt={}"), job("adapt/qwen"), gpus(1, 80)).fits


def test_a_target_that_answers_is_judged_as_a_capture(seven):
    found = one(seven(), job("answer/round2/qwen@0.5", memory=95e9, gpus=1), gpus(1, 80))
    assert found.fits is False and "represent.dtype: bfloat16" in found.change
    again = one(seven(), job("represent/round2/qwen@0.5/qwen", memory=95e9, gpus=1), gpus(1, 80))
    assert again.change.startswith("sources.qwen.capture")


def test_each_worker_has_one_gpu_for_a_training_that_takes_what_there_is(seven):
    alone = "runtime.workers=8"
    assert ranks_on(seven(alone), gpus(8, 80)) == 1
    assert ranks_on(seven(alone, "runtime.engine=ray"), gpus(8, 80)) == 8
    assert ranks_on(seven(alone, "runtime.training.processes=8"), gpus(8, 80)) == 8


def test_what_is_lacking_to_judge_a_training_is_named(seven, tmp_path, monkeypatch):
    away = ModelRef("pivot", "org/name", "org/name")
    assert "set pivot.model=FOLDER" in lacking(away)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "vocab_size": "many"}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": sizes}))
    assert (
        lacking(ModelRef("qwen", str(tmp_path), str(tmp_path)))
        == "config.json of qwen lacks num_hidden_layers, vocab_size"
    )
    monkeypatch.setattr(training_memory, "shape_of", lambda _ref: None)
    monkeypatch.setattr(verdict, "lacking", lambda ref: f"lacks of {ref.name}")
    found = one(seven(), job("distill/sft"), gpus(1, 80))
    assert found.fits is None and found.lacks == "lacks of pivot"


def test_devices_are_named_or_this_machine_s(monkeypatch):
    assert devices_of("4x8x80GB", "auto", 300.0) == Devices(Machines(4, 8, 80 * GB), True, 300.0)
    monkeypatch.setattr(verdict, "cuda_count", lambda: 2)
    monkeypatch.setattr(verdict, "cuda_memory", lambda: 24 * GB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=24 * GB))
    assert devices_of(None, "auto", 300.0) == Devices(Machines(1, 2, 24 * GB), True, 300.0, 24 * GB)
    assert devices_of(None, "cpu", 300.0) == Devices(Machines(1, 1, 24 * GB), False)
    with pytest.raises(RecipeError, match="runs on cpu"):
        devices_of("8x80GB", "cpu", 300.0)


def test_a_verdict_is_yes_no_or_not_known():
    assert [Verdict("distill/sft", needs, 5.0, None).fits for needs in (5.0, None)] == [True, None]
    assert Verdict("distill/sft", 6.0, 5.0, None, "lower it").fits is False
