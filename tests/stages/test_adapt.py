"""Sources that are fine-tuned on the corpus before they are captured."""

import math

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from fusionchat.artifacts import read_json
from fusionchat.distill.trainable import Lora
from fusionchat.errors import ModelError, RecipeError
from fusionchat.evaluate.scores import read_scores
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent.store.read import DistributionStore
from fusionchat.stages.adapt import settings_of
from fusionchat.stages.check import check
from fusionchat.stages.corpus import read_tokens
from fusionchat.stages.names import CORPUS
from fusionchat.stages.pipeline import open_run, run, run_job
from tests.tiny import SETTINGS

ADAPT = "adapt={train: {lora: {r: 4}}, learning_rate: 1e-2, precision: fp32, sources: [qwen]}"


def labels(planned, name="qwen"):
    """A model's captured log-probabilities of all supervised tokens, in nats."""
    store = DistributionStore(planned.path(f"represent/{name}"))
    return torch.from_numpy(store.column("label_logprob", 0, len(store)).copy())


@pytest.mark.parametrize("train", ["lora", "full"])
def test_a_capture_is_of_the_adapted_source(copied, train):
    """Its log-probabilities are those of peft's own opening of what was saved, on the published weights."""
    how = ADAPT if train == "lora" else ADAPT.replace("{lora: {r: 4}}", "full")
    recipe = load_recipe("recipe.yaml", (how,))
    published = open_run(load_recipe("recipe.yaml"))
    before = labels(published)
    planned = open_run(recipe)
    for job in ("adapt/qwen", "represent/qwen"):
        run_job(recipe, job)
    saved = planned.path("adapt/qwen") / "model"
    assert (saved / "config.json").exists() == (train == "full")
    model = AutoModelForCausalLM.from_pretrained(saved if train == "full" else "input/models/qwen")
    model = model if train == "full" else PeftModel.from_pretrained(model, saved)
    one = read_tokens(planned.path(CORPUS), "train", "qwen")[0]
    tokens = torch.from_numpy(one.input_ids.astype("int64"))
    with torch.no_grad():
        logprobs = model(tokens[None]).logits[0].log_softmax(-1)
    rows = torch.from_numpy(one.rows.astype("int64"))
    right = logprobs[rows - 1, tokens[rows]]
    made = labels(planned)
    torch.testing.assert_close(made[: len(rows)], right, atol=2e-5, rtol=0)
    assert made.mean() > before.mean() + 0.05
    now = open_run(recipe)
    states = {name: now.status(job).state for name, job in now.jobs.items()}
    assert {name for name, state in states.items() if state != "done"} >= {"fuse/qwen", "distill/qwen@0.5"}
    others = (
        "represent/mixtral",
        "align/mixtral",
        "fuse/mixtral",
        "distill/sft",
        "evaluate/test/sources/qwen",
    )
    assert all(states[name] == "done" for name in others)


def test_the_pivot_may_be_a_teacher_that_knows_the_corpus(copied):
    """Its capture, and what learns from it, changes; what begins with the published pivot does not. Teachers have rows."""
    jobs = [
        open_run(load_recipe("recipe.yaml", (ADAPT, "compare.self_distillation=true", *more))).jobs
        for more in ((), ("adapt.pivot={}",))
    ]
    assert jobs[0].keys() | {"adapt/pivot", "evaluate/test/adapted/pivot"} == jobs[1].keys()
    moved = {name for name in jobs[0] if jobs[0][name].fingerprint != jobs[1][name].fingerprint}
    assert {"represent/pivot", "distill/pivot@0.5", "fuse/qwen", "fuse/mixtral"} <= moved
    same = (
        "adapt/qwen",
        "represent/qwen",
        "distill/sft",
        "evaluate/test/pivot",
        "evaluate/test/adapted/qwen",
    )
    assert not moved & set(same)
    recipe = load_recipe("recipe.yaml", (ADAPT, "adapt.pivot={}"))
    for job in ("adapt/pivot", "represent/pivot"):
        run_job(recipe, job)
    planned = open_run(recipe)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained("input/models/pivot"), planned.path("adapt/pivot") / "model"
    )
    torch.testing.assert_close(
        labels(planned, "pivot"), label_logprobs(planned, "train", "pivot", model), atol=2e-5, rtol=0
    )


def test_the_pivot_has_settings_of_its_own_where_they_differ(copied):
    """Trained whole it is SFT by those settings, rounded to what it is captured in; sources are trained as before."""
    own = "adapt.pivot={train: full, learning_rate: 3e-3}"
    sft = ("compare.sft_seeds=1", "compare.sft_epochs=1", "compare.sft_learning_rate=3e-3")
    alike = (
        "distill.batch_size=8",
        "distill.precision=fp32",
        "distill.warmup_ratio=0.1",
        "represent.dtype=bfloat16",
    )
    recipe = load_recipe("recipe.yaml", (ADAPT, own, *sft, *alike))
    before, now = (open_run(load_recipe("recipe.yaml", (ADAPT, *more))) for more in ((), (own,)))
    assert before.jobs["adapt/qwen"].fingerprint == now.jobs["adapt/qwen"].fingerprint
    for job in ("adapt/pivot", "represent/pivot", "distill/sft"):
        run_job(recipe, job)
    planned = open_run(recipe)
    made, whole = (
        load_file(planned.path(job) / "model/model.safetensors") for job in ("adapt/pivot", "distill/sft")
    )
    assert made.keys() == whole.keys()
    for name, values in whole.items():
        assert values.dtype == torch.float32 and made[name].dtype == torch.bfloat16
        torch.testing.assert_close(made[name], values.bfloat16(), rtol=0, atol=0)
    assert read_json(planned.path("represent/pivot") / "probe.json")["probe"]["label"]["mean"] < 0.02


def label_logprobs(planned, part, name, model):
    """Nats of all supervised tokens by transformers."""
    found = []
    for one in read_tokens(planned.path(CORPUS), part, name):
        tokens, rows = (torch.from_numpy(ids.astype("int64")) for ids in (one.input_ids, one.rows))
        with torch.no_grad():
            found.append(model(tokens[None]).logits[0].log_softmax(-1)[rows - 1, tokens[rows]])
    return torch.cat(found)


def test_an_adapted_source_has_a_row_beside_the_published_one(copied):
    recipe = load_recipe("recipe.yaml", (ADAPT,))
    for job in ("adapt/qwen", "evaluate/test/adapted/qwen", "evaluate/test/sources/qwen"):
        run_job(recipe, job)
    planned = open_run(recipe)
    for name in ("sources", "adapted"):
        opened = AutoModelForCausalLM.from_pretrained("input/models/qwen")
        if name == "adapted":
            opened = PeftModel.from_pretrained(opened, planned.path("adapt/qwen") / "model")
        nats = -label_logprobs(planned, "test", "qwen", opened).sum().item()
        scores = read_scores(planned.path(f"evaluate/test/{name}/qwen")).items["bits_per_byte"]
        assert scores.values.sum() == pytest.approx(nats / math.log(2), rel=1e-5)


def test_a_changed_adaption_is_captured_again(copied):
    planned = [open_run(load_recipe("recipe.yaml", (ADAPT, f"adapt.epochs={n}"))) for n in (1, 2)]
    for name in ("adapt/qwen", "represent/qwen", "fuse/qwen"):
        assert planned[0].jobs[name].fingerprint != planned[1].jobs[name].fingerprint
    assert (
        planned[0].jobs["represent/mixtral"].fingerprint == planned[1].jobs["represent/mixtral"].fingerprint
    )
    usual = open_run(load_recipe("recipe.yaml", ("adapt={}",)))
    assert list(usual.adapted) == ["mixtral", "qwen"]
    how = usual.jobs["adapt/qwen"].settings.distill
    assert how.train == Lora() and (how.epochs, how.learning_rate) == (1, 5e-4)
    assert settings_of(usual.jobs["adapt/qwen"].hashed).distill == how


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (
            ("adapt.sources=[qwen]", "sources.qwen.capture={backend: vllm, python: p}"),
            RecipeError,
            "qwen is captured by vllm",
        ),
        (
            (
                "adapt={}",
                "sources.qwen.capture={backend: vllm, python: p}",
                "sources.mixtral.capture={backend: vllm, python: p}",
            ),
            RecipeError,
            "adapt has nothing to train",
        ),
        (("adapt.pivot={}", "pivot.capture={backend: vllm, python: p}"), RecipeError, "adapt.pivot"),
        (("adapt.sources=[qwen]", "sources.qwen.adapter=runs"), RecipeError, "qwen has an adapter already"),
        (("adapt={train: {lora: {r: 4000}}}",), ModelError, "adapt.train.lora.r"),
        (("adapt={train: {lora: {targets: [q_prof]}}}",), ModelError, "adapt.train.lora.targets"),
    ],
)
def test_what_cannot_be_adapted_is_named_before_anything_is_trained(tiny, settings, error, words):
    recipe = load_recipe("recipe.yaml", settings)
    for look in (check, run):
        with pytest.raises(error) as found:
            look(recipe)
        assert words in str(found.value)
    assert not (tiny / "runs/tiny/adapt").exists()


def test_a_source_that_is_not_there_is_named(tiny):
    with pytest.raises(
        RecipeError, match=r"adapt\.sources: there is no source 'qwem' \(did you mean 'qwen'\?\)"
    ):
        load_recipe("recipe.yaml", ("adapt.sources=[qwem]",))


def test_what_is_written_says_what_was_trained(copied):
    recipe = load_recipe("recipe.yaml", (ADAPT,))
    run_job(recipe, "adapt/qwen")
    folder = open_run(recipe).path("adapt/qwen")
    assert read_json(folder / "model/adapter_config.json")["r"] == 4
    assert read_json(folder / "training.json")["steps"] > 0
    assert not (folder / "checkpoints").exists()
    assert SETTINGS["sources"]["qwen"]["model"] in str(read_json(folder / "model/fusionchat_base.json"))
