"""The whole pipeline: it ends with a model that loads, is not redone, and a changed setting redoes what depends on it."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fusionchat.artifacts import read_manifest, sha256_file
from fusionchat.errors import FusionChatError
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.world import World
from fusionchat.stages.pipeline import needed, open_run, plan, run, run_job
from tests.run.files import files_of, outputs
from tests.tiny import SETTINGS, copy_input, write_recipe


def test_the_fused_model_opens_with_plain_transformers(finished):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished.path("merge/fused") / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    tokens = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert model(tokens).logits.shape[-1] == model.config.vocab_size
    assert (folder / "fusionchat_recipe.yaml").is_file() and "library_name: transformers" in (
        folder / "README.md"
    ).read_text()


def test_a_run_s_models_are_known_to_a_later_merge(finished, monkeypatch):
    from fusionchat import artifacts
    from fusionchat.merge.stream.provenance import known_hash, records_of

    monkeypatch.setattr(artifacts, "_HASHED", {})
    for job, source in (("distill/qwen@0.5", "manifest.json"), ("merge/fused", "merge_weights.json")):
        folder = finished.path(job) / "model"
        known = known_hash(folder / "model.safetensors", records_of(folder))
        assert known == (finished.manifest(job).files["model/model.safetensors"], source)


def test_targets_are_saved_in_fp32_and_without_checkpoints(finished):
    from safetensors import safe_open

    folder = finished.path("distill/mixtral@0.5")
    assert not (folder / "checkpoints").exists()
    with safe_open(folder / "model" / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F32"}  # noqa: SIM118


def test_a_finished_run_does_nothing_again(finished):
    seen = []
    run(finished.recipe, announce=lambda job, status: seen.append(status.state))
    assert set(seen) == {"done"}


@pytest.mark.parametrize(
    ("setting", "stages"),
    [
        ("merge.method=linear", {"merge", "evaluate", "report"}),
        ("distill.tail=renormalize", {"distill", "merge", "evaluate", "report"}),
        ("fuse.method=mean_ce", {"fuse", "distill", "merge", "evaluate", "report"}),
        ("align.min_mass=0.2", {"align", "fuse", "distill", "merge", "evaluate", "report"}),
        (
            "represent.batch_tokens=64",
            {"represent", "align", "fuse", "distill", "merge", "evaluate", "report"},
        ),
        ("represent.k=4", {"represent", "align", "fuse", "distill", "merge", "evaluate", "report"}),
        ("runtime.batch_tokens=512", set()),
        ("runtime.micro_batch_tokens=64", set()),
    ],
)
def test_a_changed_setting_makes_stale_what_depends_on_it(finished, setting, stages):
    recipe = load_recipe(finished.folder.parent.parent / "recipe.yaml", (setting,))
    planned = plan(recipe)
    assert {job.stage for job, status in planned if status.state != "done"} == stages
    stale = [status for _, status in planned if status.state == "stale"]
    key = setting.partition("=")[0]
    assert not stages or any(change.startswith(key) for status in stale for change in status.changed)


def test_new_fisher_information_makes_its_merges_stale(finished, tmp_path):
    folders = [str(tmp_path / name) for name in ("one", "two")]
    fisher = ("merge.method=fisher", f"merge.fisher={json.dumps(folders)}")
    recipe = load_recipe(finished.folder.parent.parent / "recipe.yaml", fisher)

    def fingerprints():
        return {job.id: job.fingerprint for job, _ in plan(recipe)}

    missing = fingerprints()
    for folder in folders:
        Path(folder).mkdir()
        (Path(folder) / "model.safetensors").write_bytes(b"first")
    first = fingerprints()
    (tmp_path / "two" / "model.safetensors").write_bytes(b"other")
    assert len({held["merge/fisher@0.5"] for held in (missing, first, fingerprints())}) == 3
    assert missing["distill/mixtral@0.5"] == first["distill/mixtral@0.5"]


def test_evaluations_of_the_pivot_survive_a_changed_merge(finished):
    recipe = load_recipe(finished.folder.parent.parent / "recipe.yaml", ("merge.method=linear",))
    done = {job.id for job, status in plan(recipe) if status.state == "done"}
    assert {"evaluate/test/pivot", "evaluate/test/sft", "distill/mixtral@0.5"} <= done


def test_a_stage_verb_runs_what_it_needs_and_no_more(finished):
    fused = needed(open_run(finished.recipe), "fuse")
    assert {job.stage for job in fused} == {"corpus", "represent", "align", "fuse"}


@pytest.mark.parametrize(
    "names",
    [
        ("search", "fused"),
        ("selection", "varm"),
        ("linear", "varm-2"),
        ("best", "SEARCH"),
        ("corpus", "qwen2.5"),
    ],
)
def test_a_source_may_be_called_as_a_job_or_a_merge_is(tiny, names):
    models = ("input/models/mixtral", "input/models/qwen")
    write_recipe(
        tiny / "recipe.yaml",
        sources=dict(zip(names, models, strict=True)),
        search={},
        distill=SETTINGS["distill"] | {"sweep": [0.1]},
        compare={"sft": True, "all_sources": True, "merges": ["linear", "varm"]},
    )
    planned = open_run(load_recipe("recipe.yaml"))
    for name in names:
        assert planned.jobs[f"evaluate/test/sources/{name}"] and planned.jobs[f"distill/{name}@0.5"]
    assert planned.jobs["evaluate/test/search"].needs[-1] == "merge/search"
    folders = [job.lower() for job in planned.jobs]
    assert len(set(folders)) == len(folders), "also where file names do not tell case apart"


def test_a_run_with_sources_called_as_jobs_are_ends_with_a_report(tiny):
    models = ("input/models/mixtral", "input/models/qwen")
    write_recipe(
        tiny / "recipe.yaml", sources=dict(zip(("search", "varm"), models, strict=True)),
        search={"candidates": ["linear"]},
    )  # fmt: skip
    done = run(load_recipe("recipe.yaml"))
    labels = [
        row["label"] for row in json.loads((done.path("report/report") / "report.json").read_text())["rows"]
    ]
    assert labels[:3] == ["pivot", "search", "varm"] and len(set(labels)) == len(labels)
    assert {"target varm, λ 0.5", "varm, λ 0.5"} <= set(labels)


def test_a_lost_file_is_noticed(tiny):
    done = run(load_recipe("recipe.yaml"), until="represent")
    next(done.path("represent/pivot").glob("shard-*.safetensors")).unlink()
    status = done.status(done.jobs["represent/pivot"])
    assert status.state == "damaged" and "missing" in status.changed[0]


def test_a_model_built_for_another_length_has_the_corpus_cut_again(tiny):
    copy_input(tiny)
    recipe = load_recipe("recipe.yaml")
    run(recipe, until="corpus")
    path = tiny / "input/models/pivot/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 40}))
    again = open_run(recipe)
    status = again.status(again.jobs["corpus/corpus"])
    assert (status.state, status.changed) == ("stale", ("configuration of pivot changed",))


def test_two_processes_cannot_work_on_one_run(tiny):
    from fusionchat.lease import lease

    recipe = load_recipe("recipe.yaml")
    recipe.run_folder.mkdir(parents=True)
    with lease(recipe.run_folder / ".lease"), pytest.raises(FusionChatError, match="Another process"):
        run(recipe)


def test_other_ranks_follow_and_return_the_run_as_it_is(copied, monkeypatch):
    """They plan it without writing; what the processes say to each other is in tests/run/test_world.py."""
    before = files_of(copied)
    followed = []
    monkeypatch.setattr("fusionchat.stages.pipeline.world_here", lambda: World(1, 2))
    monkeypatch.setattr("fusionchat.stages.pipeline.follow", followed.append)
    recipe = load_recipe("recipe.yaml")
    for done in (run(recipe), run_job(recipe, "distill/sft")):
        assert {done.status(job).state for job in done.jobs.values()} == {"done"}
    assert len(followed) == 2 and files_of(copied) == before


KILL_AT = [
    "corpus/corpus",
    "represent/mixtral",
    "align/qwen",
    "fuse/mixtral",
    "distill/qwen@0.5",
    "merge/varm@0.5",
    "merge/fused",
    "evaluate/test/varm@0.5",
    "report/report",
]


def work(recipe_path, delays):
    """Run with SIGKILL some moments after each named job begins."""
    torch.set_num_threads(1)

    def announce(job, status):
        if status.state != "done" and job.id in delays:
            delay = delays.pop(job.id)
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, delay)

    run(load_recipe(recipe_path), announce=announce)


def test_killed_inside_every_stage_it_ends_with_the_same_result(tiny, finished):
    """One run, killed in stage after stage at different moments, against the undisturbed one."""
    context = multiprocessing.get_context("fork")
    rng = np.random.default_rng(0)
    kills = 0
    for job in KILL_AT:
        process = context.Process(target=work, args=("recipe.yaml", {job: float(rng.uniform(0.001, 0.12))}))
        process.start()
        process.join(120)
        kills += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL)
    assert kills >= 3, "the test must kill to show anything"
    done = run(load_recipe("recipe.yaml"))
    assert outputs(done.folder) == outputs(finished.folder)
    assert all(read_manifest(done.path(job)) is not None for job in done.jobs)
    assert not list(done.folder.rglob("*.partial"))


def test_a_training_goes_on_from_its_checkpoint(tiny, finished, monkeypatch):
    """Killed in the middle of training: the rest is trained, not all of it, and the weights are the same bits."""
    from fusionchat.distill import trainer as module

    run(load_recipe("recipe.yaml"), until="fuse")
    folder = load_recipe("recipe.yaml").run_folder / "distill" / "sft"
    process = multiprocessing.get_context("fork").Process(target=work, args=("recipe.yaml", {}))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and module.last_checkpoint(folder / "checkpoints") is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    found = module.last_checkpoint(folder / "checkpoints")
    resumed = []
    original = module.DistillTrainer.train

    def spy(self, **kwargs):
        resumed.append(kwargs["resume_from_checkpoint"])
        return original(self, **kwargs)

    monkeypatch.setattr(module.DistillTrainer, "train", spy)
    done = run(load_recipe("recipe.yaml"), until="distill")
    if found is not None:  # else the whole training was over before the kill
        assert resumed[0] == str(found)
    name = "distill/sft/model/model.safetensors"
    assert sha256_file(done.folder / name) == sha256_file(finished.folder / name)


def test_killed_while_it_takes_checkpoints_away_a_training_is_done(tiny, finished, monkeypatch):
    """Removing checkpoints of gigabytes takes seconds; what a kill leaves of them is no checkpoint."""
    from fusionchat.distill import trainer
    from fusionchat.stages import distill as module

    shutil.copytree(finished.folder, tiny / "runs/tiny")
    recipe = load_recipe("recipe.yaml")
    shutil.rmtree(recipe.run_folder / "distill/sft")

    remove = shutil.rmtree

    def killed(folder, **options):
        if Path(folder).name != module.CHECKPOINTS:
            return remove(folder, **options)
        for file in folder.rglob("model.safetensors"):
            file.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.shutil, "rmtree", killed)
        run(recipe, until="distill")
    monkeypatch.setattr(trainer.DistillTrainer, "train", lambda *_, **__: pytest.fail("trained again"))
    done = run(recipe, until="distill")
    name = "distill/sft/model/model.safetensors"
    assert sha256_file(done.folder / name) == sha256_file(finished.folder / name)
    assert not (done.folder / "distill/sft/checkpoints").exists()
    assert done.manifest("distill/sft").summary == finished.manifest("distill/sft").summary


def test_more_seeds_train_only_what_is_new(finished, tiny):
    """A run made with one seed: the first seed's models stay, and the others are compared with them."""
    from safetensors.torch import load_file

    shutil.copytree(finished.folder, tiny / "runs/tiny")
    changes = {
        "compare": {"sft_seeds": 2, "self_distillation": True},
        "distill": SETTINGS["distill"] | {"seeds": 2},
        "search": {"candidates": ["linear"]},
    }
    write_recipe(tiny / "recipe.yaml", **changes)
    begun = []
    done = run(
        load_recipe("recipe.yaml"),
        announce=lambda job, status: begun.append(job.id) if status.state != "done" else None,
    )
    trained = ["sft#2", "pivot@0.5", "mixtral@0.5#2", "qwen@0.5#2", "pivot@0.5#2"]
    assert sorted(job for job in begun if job.startswith("distill")) == sorted(
        f"distill/{n}" for n in trained
    )
    merged = {"merge/sft#soup", "merge/varm@0.5#2", "merge/search", "merge/search#2", "merge/fused"}
    assert {job for job in begun if job.startswith("merge")} == merged

    def weights(job):
        return load_file(done.path(job) / "model" / "model.safetensors")

    one, two, soup = weights("distill/sft"), weights("distill/sft#2"), weights("merge/sft#soup")
    assert any(not torch.equal(one[name], two[name]) for name in one)
    for name, mean in soup.items():
        expected = ((one[name].double() + two[name].double()) / 2).float()
        torch.testing.assert_close(mean, expected, rtol=1e-6, atol=1e-8)
    report = json.loads((done.path("report/report") / "report.json").read_text())
    rows = {row["label"]: row for row in report["rows"]}
    assert list(rows)[3:8] == ["SFT seed 1", "SFT seed 2", "SFT", "SFT soup", "self-distillation, λ 0.5"]
    scores = [
        json.loads((done.path(f"evaluate/test/{n}") / "scores.json").read_text()) for n in ("sft", "sft#2")
    ]
    held = [one["metrics"]["bits_per_byte"] for one in scores]
    rates = [sum(one["value"]) / sum(one["size"]) for one in held]
    assert rows["SFT"]["results"]["bits_per_byte"]["value"]["overall"]["value"] == pytest.approx(
        np.mean(rates)
    )
    head = report["headline"]
    assert head["row"] == report["fused"] and head["sft_seeds"] == head["seeds"] == 2
    assert head["se_sft"] > 0 and head["se_soup"] > 0 and head["t_sft"] > 1.96
    page = (done.path("report/report") / "report.html").read_text()
    assert "the soup of 2 SFT seeds" in page and "2 seeds of SFT and of 2 of each target" in page
    assert {status.state for _, status in plan(done.recipe)} == {"done"}
