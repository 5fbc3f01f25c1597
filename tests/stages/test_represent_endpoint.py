"""A source captured from a server in a run: its values, a key that is nowhere, a server that goes away, no weights here."""

import shutil

import numpy as np
import pytest

from fusionchat.errors import MachineError, ModelError
from fusionchat.models.load import load_model, load_tokenizer
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent import probe
from fusionchat.represent.endpoint.before import COMPLETIONS
from fusionchat.represent.store.read import DistributionStore
from fusionchat.stages import represent
from fusionchat.stages.check import check
from fusionchat.stages.corpus import read_tokens
from fusionchat.stages.pipeline import open_run, run
from tests.represent.endpoint.server import scoring, serving
from tests.tiny import SETTINGS, write_recipe

KEY = "sk-very-secret-4711"


@pytest.fixture
def served(finished, tiny, monkeypatch):
    """A server with the model qwen, and a begun run in which it is a source whose weights are not on this machine."""
    import torch

    folder = str((tiny / "input/models/qwen").resolve())
    ref = ModelRef("qwen", folder, folder)
    model = load_model(ref, dtype=torch.float32, device=torch.device("cpu"))
    shutil.copytree(folder, tiny / "qwen", ignore=shutil.ignore_patterns("*.safetensors"))
    (tiny / "runs/tiny").mkdir(parents=True)
    shutil.copytree(finished.folder / "corpus", tiny / "runs/tiny/corpus")
    monkeypatch.setenv("SOME_KEY", KEY)
    with serving(scoring(model, load_tokenizer(ref), "the-model")) as server:
        server.models = '{"data": [{"id": "the-model", "max_model_len": 4096}]}'
        capture = {
            "backend": "endpoint",
            "model": "the-model",
            "url": server.url,
            "key_env": "SOME_KEY",
            "retries": 0,
        }
        sources = SETTINGS["sources"] | {"qwen": {"model": "qwen", "capture": capture}}
        write_recipe(tiny / "recipe.yaml", sources=sources)
        yield server


def captured(folder):
    corpus = folder / "corpus/corpus"
    tokens = read_tokens(corpus, "train", "qwen")
    return DistributionStore(folder / "represent/qwen").scored(tokens, 0, len(tokens))


def represented():
    return run(load_recipe("recipe.yaml"), until="represent")


def test_a_run_has_the_servers_distributions_and_its_key_nowhere(served, finished, tiny, monkeypatch, capfd):
    monkeypatch.setattr(probe, "MOST_BITS", 3.0)  # the tiny models are no chat models
    monkeypatch.setattr(represent, "shard_rows", lambda _: 200)
    served.faults.extend([*[lambda text: text] * 18, 500])  # the probe, and some of the shards
    with pytest.raises(MachineError, match="No usable response from the server in 1 try: 500"):
        represented()
    begun = served.seen[COMPLETIONS]
    done = represented()
    own, plain = captured(done.folder), captured(finished.folder)
    np.testing.assert_allclose(own.label_logprob, plain.label_logprob, atol=1e-5)
    assert (own.topk.ids == plain.topk.ids).mean() > 0.999
    shards = len(list((done.folder / "represent/qwen").glob("shard-*.safetensors")))
    assert shards > 1 and begun < served.seen[COMPLETIONS] < 2 * begun, "what was done is not asked again"

    summary = done.manifest("represent/qwen").summary
    assert (summary["backend"], summary["version"], summary["dtype"]) == (
        "endpoint",
        "0.32.0",
        "the server's",
    )
    assert summary["probe"]["unchecked"] == "its weights are not on this machine"
    assert "evaluate/test/sources/qwen" not in done.jobs and "evaluate/test/sources/mixtral" in done.jobs

    said = "".join(capfd.readouterr())
    files = [path for path in tiny.rglob("*") if path.is_file() and "input" not in path.parts]
    assert (
        len(files) > 10 and not any(KEY.encode() in path.read_bytes() for path in files) and KEY not in said
    )
    assert served.keys == {f"Bearer {KEY}"}


def test_too_many_bits_per_byte_are_an_error_where_transformers_cannot_be_asked(served, tiny):
    with pytest.raises(ModelError, match=r"endpoint needs 2\.\d+ bits per byte"):
        represented()
    assert not list((tiny / "runs/tiny/represent/qwen").glob("shard-*"))


def test_where_the_server_is_changes_no_fingerprint(served, tiny):
    first = open_run(load_recipe("recipe.yaml")).jobs["represent/qwen"]
    moved = ("sources.qwen.capture.url=http://elsewhere:8000", "sources.qwen.capture.retries=3")
    assert open_run(load_recipe("recipe.yaml", moved)).jobs["represent/qwen"].fingerprint == first.fingerprint
    renamed = open_run(load_recipe("recipe.yaml", ("sources.qwen.capture.model=other",))).jobs[
        "represent/qwen"
    ]
    assert renamed.fingerprint != first.fingerprint


def test_check_says_in_one_line_what_is_wrong_with_the_server(served, tiny):
    assert check(load_recipe("recipe.yaml")).backends == []
    (line,) = check(load_recipe("recipe.yaml", ("sources.qwen.capture.model=other",))).backends
    assert "the server has no model 'other'; it has 'the-model'" in line
