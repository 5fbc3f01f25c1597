"""What is captured is what the model says, whoever captures it."""

import shutil
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from fusionchat.artifacts import begin, make_folder
from fusionchat.lease import lease
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.job import Context, Inputs
from fusionchat.run.sharing import shard_lease
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages.pipeline import STAGES, open_run
from tests.run.files import files_of


def test_captured_distributions_are_the_models_own(finished):
    """A conversation scored by hand, row by row."""
    from transformers import AutoModelForCausalLM

    from fusionchat.represent.store.read import DistributionStore
    from fusionchat.stages.corpus import make_renderer, read_part, read_tokens
    from fusionchat.stages.names import CORPUS

    reference = finished.refs["qwen"]
    tokens = read_tokens(finished.path(CORPUS), "train", "qwen")
    scored = DistributionStore(finished.path("represent/qwen")).scored(tokens, 0, 1)
    rendered = make_renderer(reference).render(read_part(finished.path(CORPUS), "train")[0])
    model = AutoModelForCausalLM.from_pretrained(reference.model).eval()
    with torch.no_grad():
        logprobs = model(torch.tensor(rendered.input_ids[None], dtype=torch.long)).logits[0].log_softmax(-1)
    own = logprobs[rendered.rows - 1]
    labels = rendered.input_ids[rendered.rows]
    np.testing.assert_array_equal(scored.tokens.labels, labels)
    np.testing.assert_allclose(scored.label_logprob, own[np.arange(len(labels)), labels], atol=1e-4)
    np.testing.assert_allclose(scored.topk.logprobs, own.topk(scored.topk.k).values, atol=5e-3)


def made_by(workers, run, job, shards):
    """The files of a capture that so many make, each every so many-th shard; whoever has begun it makes the last ones."""
    folder = run / job.id
    shutil.rmtree(folder, ignore_errors=True)
    begin(folder, job.fingerprint, parts=job.parts)
    for worker in reversed(range(workers)):
        with ExitStack() as held:
            for index in range(shards if worker else 0):
                if index % workers != worker:
                    path = shard_lease(run, job.id, index)
                    make_folder(path.parent)
                    held.enter_context(lease(path))
            before = len(list(folder.glob("shard-*.safetensors")))
            context = Context(RuntimeSettings(device="cpu", threads=1), helps=worker > 0)
            STAGES["represent"].work(job.settings, Inputs(run, job), folder, context)
        made = len(list(folder.glob("shard-*.safetensors"))) - before
        assert made == len(range(worker, shards, workers)) or not shards
    return files_of(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_number_of_workers_changes_no_bit(copied, monkeypatch, dtype):
    """One that makes all shards, two that make every other, and one for each shard."""
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 120)
    job = open_run(load_recipe("recipe.yaml", (f"represent.dtype={dtype}",))).jobs["represent/qwen"]
    one = made_by(1, copied, job, 0)
    shards = sum(name.endswith(".safetensors") for name in one)
    assert shards > 3
    for workers in (2, shards):
        assert made_by(workers, copied, job, shards) == one


def test_a_shard_that_a_faster_worker_made_meanwhile_is_not_written_again(copied, monkeypatch):
    run = open_run(load_recipe("recipe.yaml"))
    job = run.jobs["represent/qwen"]
    begin(copied / job.id, job.fingerprint)

    def twice(count, is_made, make, lease_of, *, helps):
        make(0)
        before = [path.stat().st_mtime_ns for path in sorted((copied / job.id).glob("shard-*"))]
        make(0)
        assert [path.stat().st_mtime_ns for path in sorted((copied / job.id).glob("shard-*"))] == before != []

    monkeypatch.setattr("fusionchat.stages.represent.make_shares", twice)
    STAGES["represent"].work(
        job.settings, Inputs(copied, job), copied / job.id, Context(RuntimeSettings(device="cpu"))
    )
