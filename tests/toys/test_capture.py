"""A new capture backend is one file: a recipe chooses it for a model, and its shards are as all others."""

import json
import shutil

import numpy as np
from safetensors.numpy import load_file

from fusionchat.stages.corpus import read_tokens
from tests.tiny import SETTINGS, write_recipe
from tests.toys import toy

CODE = """
from fusionchat.cli.verbs import guarded
setting = ["--set", "sources.qwen.capture.smoothing=0.5"]
raise SystemExit(guarded(["plan", "recipe.yaml", *setting]) or guarded(["represent", "recipe.yaml", *setting]))
"""


def test_a_new_capture_backend_is_one_file(finished, tiny):
    assert toy.files("capture") == ["src/fusionchat/represent/capture/toy.py"]
    src = toy.apply("capture", tiny)
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    sources = SETTINGS["sources"] | {
        "qwen": {"model": "input/models/qwen", "capture": {"backend": "toy", "probe_bound": 100}}
    }
    write_recipe(tiny / "recipe.yaml", sources=sources)
    plan = toy.python(src, "-c", CODE, cwd=tiny)
    assert "capture.backend: transformers -> toy" in " ".join(plan.split())

    manifest = json.loads((tiny / "runs/tiny/represent/qwen/manifest.json").read_text())
    assert manifest["settings"]["capture"] == {"backend": "toy", "smoothing": 0.5}
    assert (manifest["summary"]["backend"], manifest["summary"]["version"]) == ("toy", "0.1")
    other = json.loads((tiny / "runs/tiny/represent/mixtral/manifest.json").read_text())
    assert other["summary"]["backend"] == "transformers" and other == finished_manifest(finished, "mixtral")

    labels = read_tokens(tiny / "runs/tiny/corpus/corpus", "train", "qwen")[:].supervised.labels
    tokens, counts = np.unique(labels, return_counts=True)
    shard = load_file(tiny / "runs/tiny/represent/qwen/shard-00000.safetensors")
    assert shard["ids"].shape == (len(labels), SETTINGS["represent"]["k"])
    assert set(shard["ids"][:, 0]) == {tokens[counts.argmax()]}
    probability = np.exp(shard["label_logprob"].astype(np.float64))
    rarest = np.isin(labels, tokens[counts == counts.min()])
    ratio = (counts.max() + 0.5) / (counts.min() + 0.5)
    np.testing.assert_allclose(probability.max() / probability[rarest], ratio, rtol=1e-5)


def finished_manifest(finished, name):
    return json.loads((finished.folder / f"represent/{name}/manifest.json").read_text())
