"""The published recipes of the paper's run: they fit the devices that they are for, and train a small target."""

import pytest
from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

from fusionchat.models.load import load_model, load_tokenizer
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent import probe
from fusionchat.run.assumed import Assumed, assuming
from fusionchat.run.verdict import devices_of, verdicts
from fusionchat.stages.pipeline import plan, run, run_job
from tests.cli.calls import call
from tests.forked import Forked
from tests.represent.endpoint.server import scoring, serving
from tests.shared import SHARED, needs_shared
from tests.structure import ROOT

RECIPES = ROOT / "recipes"
MODELS = {
    "pivot": ("openchat-3.5-7b", "openchat-3.5"),
    "sources.mixtral": ("nh2-mixtral-8x7b", "nh2-mixtral-8x7b-dpo"),
    "sources.solar": ("nh2-solar-10.7b", "nh2-solar-10.7b"),
}
DEVICES = {"paper_7b": "8x80GB", "paper_7b_1gpu": "1x80GB", "paper_7b_qlora": "1x24GB"}
TOKENS = 63e6
FOUR_BITS = "sources.mixtral.capture={quantization: {quant_method: bitsandbytes, load_in_4bit: true}}"


def here(*more):
    """Settings for models that are configurations and real tokenizers, and a corpus that is here."""
    sets = [f"{where}.model=configs/{config}" for where, (config, _) in MODELS.items()]
    sets += [f"{where}.tokenizer={SHARED / 'tokenizers' / name}" for where, (_, name) in MODELS.items()]
    return (*sets, f"corpus.train={SHARED / 'chat' / 'alpaca_eval_answers.jsonl.gz'}", *more)


def judged(name, *more, devices=None):
    recipe = load_recipe(RECIPES / f"{name}.yaml", here(*more))
    with assuming(Assumed(tokens=TOKENS)):
        jobs = [job for job, _ in plan(recipe)]
        on = devices_of(devices or DEVICES[name], "auto", 125.0)
        return {one.job: one for one in verdicts(jobs, recipe, recipe.refs(), on)}, [job.id for job in jobs]


@needs_shared
@pytest.mark.parametrize("name", DEVICES)
def test_the_papers_run_fits_its_devices(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, _ = judged(name)
    assert {job: one.change for job, one in found.items() if not one.fits} == {}
    assert found["distill/mixtral@0.9"].hours > 1
    assert list(tmp_path.iterdir()) == []


@needs_shared
def test_one_size_smaller_is_too_small_and_says_what_to_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, _ = judged("paper_7b", devices="1x80GB")
    assert found["represent/pivot"].fits and found["represent/mixtral"].fits is False
    assert "quantization in 4 bits (28 GB)" in found["represent/mixtral"].change
    found, _ = judged("paper_7b_1gpu", devices="1x24GB")
    assert found["distill/sft"].fits is False and found["distill/sft"].change.startswith(
        "set distill.train: lora: "
    )
    found, _ = judged("paper_7b_qlora", FOUR_BITS)
    mixtral = found["represent/mixtral"]
    assert 26e9 < mixtral.needs < 27e9 and mixtral.fits is False
    assert "an endpoint that serves it; or make its shards on a larger machine" in mixtral.change


@needs_shared
def test_plan_prints_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets = [word for one in here() for word in ("--set", one)]
    code, text = call(
        capsys,
        "plan",
        RECIPES / "paper_7b_qlora.yaml",
        "--devices",
        "1x24GB",
        "--assume",
        "tokens=63e6",
        *sets,
    )
    assert code == 0 and "Captured by other programs: mixtral by endpoint" in text
    assert "│ distill/sft and 2 more" in text and " no " not in text


SMALL = {"pivot.model": "pivot", "sources.mixtral.model": "mixtral", "sources.solar.model": "qwen"}
"""The demo's models in the place of the paper's: a Mixtral is one, too."""
SIZES = (
    "corpus.max_tokens=96", "corpus.test=0.05", "corpus.validation=0.05", "distill.batch_size=8", "distill.epochs=0.5",
    "runtime.micro_batch_tokens=128", "compare={sft: false, merges: []}",
)  # fmt: skip
CPU = ("runtime.device=cpu", "runtime.threads=1", "runtime.workers=1", "runtime.training.processes=2")


@pytest.fixture
def served(tiny):
    """A server of the tiny Mixtral."""
    import torch

    folder = str((tiny / "input/models/mixtral").resolve())
    ref = ModelRef("mixtral", folder, folder)
    model = load_model(ref, dtype=torch.float32, device=torch.device("cpu"))
    with serving(scoring(model, load_tokenizer(ref), "mixtral")) as server:
        server.models = '{"data": [{"id": "mixtral", "max_model_len": 4096}]}'
        yield server


@pytest.mark.parametrize("name", DEVICES)
def test_a_small_target_with_the_same_settings_in_two_processes(name, tiny, monkeypatch, request):
    """The recipe's own keys but sizes, devices and places; the corpus and the models are a thousandth or less."""
    settings = [f"{key}={(tiny / 'input/models' / model).resolve()}" for key, model in SMALL.items()]
    corpus = (tiny / "input/corpus/train.jsonl").resolve()
    settings += [f"corpus.train={{path: {corpus}, limit: 40}}", *SIZES, *CPU]
    if name == "paper_7b_qlora":
        server = request.getfixturevalue("served")
        settings += [f"sources.mixtral.capture.url={server.url}", "sources.mixtral.capture.model=mixtral"]
        monkeypatch.setattr(probe, "MOST_BITS", 4.0)  # the tiny models are no chat models
    recipe = load_recipe(RECIPES / f"{name}.yaml", tuple(settings))
    monkeypatch.setattr(subprocess_handler, "Popen", Forked)
    run(recipe, until="fuse")
    job = "distill/mixtral@0.9"
    done = run_job(recipe, job)
    summary = done.manifest(job).summary
    assert summary["processes"] == 2 and 0 < summary["loss"] < 20
    assert (done.path(job) / "model/adapter_config.json").is_file() == (name == "paper_7b_qlora")
