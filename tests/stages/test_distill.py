"""What a training job leaves behind."""

import gc
import json
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fusionchat.artifacts import read_json, write_json
from fusionchat.chat.answer import Answerer
from fusionchat.corpus.rendered_part import join
from fusionchat.distill.metrics import HELD_OUT, METRICS, read_metrics
from fusionchat.distill.settings import DistillSettings
from fusionchat.errors import CorpusError, ModelError, RecipeError
from fusionchat.evaluate.scores import read_scores
from fusionchat.evaluate.tasks import PRIMARY
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.estimate import parameters
from fusionchat.run.job import Context, Inputs
from fusionchat.run.training_memory import training_footprint
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages import distill as stage
from fusionchat.stages.check import check
from fusionchat.stages.evaluate import AS_TRAINED, validation_score
from fusionchat.stages.noise import NOISE
from fusionchat.stages.pipeline import open_run, run, run_job
from fusionchat.stages.report import as_trained_note
from tests.tiny import SETTINGS, write_recipe


class Cycle:
    """As Trainer and its model are: only the collector can free it."""

    def __init__(self):
        self.me = self


def test_a_training_gives_its_memory_back(tmp_path, monkeypatch):
    made = []

    def train(_settings, _inputs, folder, _ctx, **_named):
        made.append(weakref.ref(Cycle()))
        write_json(folder / stage.TRAINING, {"steps": 3, "loss": 0.5, "log": []})

    monkeypatch.setattr(stage, "train_target", train)
    gc.disable()
    try:
        assert stage.work(None, None, tmp_path, Context(RuntimeSettings())) == {
            "steps": 3, "loss": 0.5, "processes": 1,
        }  # fmt: skip
    finally:
        gc.enable()
    assert made[0]() is None


def lora(**settings):
    return SETTINGS["distill"] | {"train": {"lora": {"r": 4} | settings}, "learning_rate": 1e-2}


def test_a_run_with_adapters_from_training_to_evaluation(copied, tiny):
    """Every trained row is an adapter: SFT, self-distillation, all sources, targets; merged and searched."""
    write_recipe(
        tiny / "recipe.yaml",
        distill=lora(),
        compare={"sft_seeds": 1, "self_distillation": True, "all_sources": True},
        search={"candidates": ["linear"]},
    )
    done = run(load_recipe("recipe.yaml"), until="evaluate")
    trained = [job for job in done.jobs.values() if job.stage == "distill"]
    assert len(trained) == 5
    lines = {job.name: read_metrics(done.path(job.id) / METRICS) for job in trained}
    shares = done.manifest("fuse/qwen").summary["shares"]
    told = [line["share_of_rows"]["qwen"] for line in lines["qwen@0.5"]]
    assert np.mean(told) == pytest.approx(np.mean([one["qwen"] for one in shares.values()]), abs=0.2)
    assert {"share_of_rows", "agreement"} & set(lines["sft"][0]) == set()
    assert "agreement" in lines["pivot@0.5"][0] and "share_of_rows" not in lines["pivot@0.5"][0]
    for job in trained:
        held = {path.name for path in (done.path(job.id) / "model").iterdir()}
        assert {"adapter_model.safetensors", "fusionchat_base.json", "tokenizer.json"} <= held
        assert "config.json" not in held
    figures = {
        name: read_scores(done.path(f"evaluate/test/{name}")).estimate(PRIMARY).value
        for name in ("pivot", "sft", "targets/qwen@0.5", "targets/all@0.5", "search")
    }
    assert all(value < figures["pivot"] for name, value in figures.items() if name != "pivot")
    fused = done.path("merge/varm@0.5") / "model"
    assert (fused / "model.safetensors").is_file() and not (fused / "adapter_config.json").exists()
    answerer = Answerer.load(done.path("distill/mixtral@0.5"), "cpu")
    assert answerer.model.num_parameters() == Answerer.load(fused, "cpu").model.num_parameters()
    weights = json.loads((fused / "merge_weights.json").read_text())
    changed = {t["name"]: t["rms"] for t in weights["tensors"]}
    assert changed["model.norm.weight"] == [0.0, 0.0] and all(changed["model.layers.0.mlp.up_proj.weight"])


def test_qlora_is_measured_on_both_bases(copied, tiny):
    """The merge is of the pivot's own weights, and so is the row; the manifest has the other figure, the report says it."""
    write_recipe(tiny / "recipe.yaml", distill=lora() | {"train": {"qlora": {"r": 4}}})
    recipe = load_recipe("recipe.yaml")
    done = run(recipe, until="evaluate")
    trained = done.manifest("distill/sft").settings["distill"]["train"]["qlora"]
    assert (trained["r"], trained["quant_type"]) == (4, "nf4")
    held = json.loads((done.path("distill/sft") / "model/fusionchat_base.json").read_text())
    assert held["trained_in"] == "bitsandbytes nf4"
    summary = done.manifest("evaluate/test/sft").summary
    own, then = summary["bits_per_byte"], summary[AS_TRAINED]
    assert own != then and own == pytest.approx(then, rel=0.02)
    assert AS_TRAINED not in done.manifest("evaluate/test/varm@0.5").summary
    job = open_run(recipe).jobs["report/report"]
    note = as_trained_note(recipe, Inputs(done.folder, job))
    assert f"SFT {then:.4f} instead of {own:.4f}" in note and "4 bits (bitsandbytes nf4)" in note
    assert (
        as_trained_note(load_recipe("recipe.yaml", ("distill.train=full",)), Inputs(done.folder, job)) == ""
    )


def test_full_training_has_the_fingerprints_it_had_before_there_was_lora(tiny):
    """Of a job's settings as they were in VERSION 4."""
    job = open_run(load_recipe("recipe.yaml")).jobs["distill/sft"]
    assert set(job.hashed) == {"distill", "learns", "seed"}
    assert set(job.hashed["distill"]) == {
        "epochs", "batch_size", "learning_rate", "schedule", "warmup_ratio", "weight_decay", "max_grad_norm", "precision",
    }  # fmt: skip


def test_what_is_watched_changes_no_fingerprint_and_what_is_kept_does(tiny):
    def job(*settings):
        return open_run(load_recipe("recipe.yaml", settings)).jobs["distill/sft"]

    plain = job()
    assert (
        job("runtime.training.eval_steps=5", "runtime.training.report_to=[wandb]").fingerprint
        == plain.fingerprint
    )
    kept = job("distill.keep_best=5")
    assert kept.fingerprint != plain.fingerprint and kept.hashed["distill"]["keep_best"] == 5
    assert set(kept.reads["corpus/corpus"]) > set(plain.reads["corpus/corpus"])


def test_without_held_out_text_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "read_part", lambda *_: [])
    monkeypatch.setattr(stage, "read_tokens", lambda *_: join([]))
    with pytest.raises(CorpusError, match=r"(?s)validation part has no text.*eval_steps"):
        stage.held_out(tmp_path, "pivot")


def test_dropout_of_factors_makes_the_size_of_a_pass_part_of_the_result(tiny):
    def fingerprint(dropout, tokens):
        write_recipe(
            tiny / "recipe.yaml", distill=lora(dropout=dropout), runtime={"micro_batch_tokens": tokens}
        )
        return open_run(load_recipe("recipe.yaml")).jobs["distill/sft"].fingerprint

    assert fingerprint(0.0, 256) == fingerprint(0.0, 512)
    assert len({fingerprint(0.1, 256), fingerprint(0.1, 512), fingerprint(0.0, 256)}) == 3
    assert stage.draws_masks(DistillSettings(train={"lora": {"dropout": 0.1}}))
    assert not stage.draws_masks(DistillSettings())


def test_layers_that_the_pivot_lacks_are_found_before_anything_is_captured(tiny):
    write_recipe(tiny / "recipe.yaml", distill=lora(targets=["q_prj"]))
    for look in (check, run):
        with pytest.raises(ModelError, match=r"no linear layer 'q_prj'.*did you mean 'q_proj'"):
            look(load_recipe("recipe.yaml"))
    assert not (tiny / "runs/tiny/represent").exists()


@pytest.mark.parametrize(
    ("train", "strategy", "world", "refused"),
    [
        ("qlora", "fsdp2", 2, True),
        ("qlora", "fsdp2", 1, False),
        ("qlora", "ddp", 2, False),
        ("lora", "fsdp2", 2, False),
        ("full", "fsdp2", 2, False),
    ],
)
def test_a_model_in_4_bits_is_not_cut(train, strategy, world, refused):
    ctx = Context(RuntimeSettings(training={"strategy": strategy}), world=world)
    how = DistillSettings(train=train)
    if refused:
        with pytest.raises(RecipeError, match="in 4 bits"):
            stage.require_shareable(how, ctx)
    else:
        stage.require_shareable(how, ctx)


def test_bf16_weights_are_not_cut():
    how = DistillSettings(precision="bf16_weights")
    fsdp2 = RuntimeSettings(training={"strategy": "fsdp2"})
    stage.require_shareable(how, Context(fsdp2, world=1))
    with pytest.raises(RecipeError, match="bf16 weights cannot be split"):
        stage.require_shareable(how, Context(fsdp2, world=2))


def test_a_training_of_bf16_weights_leaves_an_fp32_target_and_its_noise(tiny):
    """Held-out text is measured as the evaluation does, by the passes of the training."""
    how = {"learning_rate": 1e-5, "epochs": 0.2, "precision": {"bf16_weights": {"rounding": "stochastic"}}}
    shown = {"runtime": SETTINGS["runtime"] | {"training": {"eval_steps": 100}}}
    write_recipe(tiny / "recipe.yaml", distill=SETTINGS["distill"] | how | {"keep_best": 1}, **shown)
    recipe = load_recipe("recipe.yaml")
    run(recipe, until="corpus")
    run_job(recipe, "distill/sft")
    folder = recipe.run_folder / "distill" / "sft"
    held = load_file(folder / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in held.values()} == {torch.float32}
    noted, lines = read_json(folder / stage.TRAINING), read_metrics(folder / METRICS)
    assert 1e-6 < noted[NOISE] < 1e-2
    assert [line["step"] for line in lines] == [*range(noted["steps"] + 1)]
    corpus, pivot = recipe.run_folder / "corpus/corpus", recipe.refs()["pivot"]
    whole = recipe.evaluate.model_copy(update={"dtype": "float32"})
    exact = validation_score(whole, PRIMARY.name, corpus, pivot, recipe.runtime)
    assert lines[0][HELD_OUT] == pytest.approx(exact(Path(pivot.place.path)), rel=2e-3)
    assert noted["best"]["bits_per_byte"] == pytest.approx(
        min(line[HELD_OUT] for line in lines[1:]), rel=1e-6
    )
    fp32, narrow = (
        training_footprint(
            load_recipe("recipe.yaml", (f"distill.precision={one}",)), pivot, ranks=1, gpu=False
        )
        for one in ("fp32", "bf16_weights")
    )
    lost = (fp32.trained + fp32.gradients + fp32.optimizer) - (
        narrow.trained + narrow.gradients + narrow.optimizer
    )
    assert lost == pytest.approx(2 * parameters(pivot), rel=0.05)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("distill.optim=adamw", "there is no optimizer 'adamw'"),
        ("distill.precision=bf17", "did you mean 'bf16'?"),
        ("runtime.training.report_to=[tensorbord]", "did you mean 'tensorboard'?"),
    ],
)
def test_what_cannot_be_trained_so_is_said_before_anything_is_captured(tiny, setting, said):
    with pytest.raises(RecipeError, match=re.escape(said)):
        run(load_recipe("recipe.yaml", (setting,)), until="distill")
