"""What is measured on a GPU runs to its end here at toy size: no GPU's minute is spent on a typo."""

import json
import os
import subprocess
import sys

import pytest
import torch
from benchmarks.gpu_distill import SMALL, WAYS, made_batch, measure

from tests.structure import ROOT


def test_all_ways_start_from_the_same_loss():
    pytest.importorskip("bitsandbytes")
    found = measure(SMALL, torch.device("cpu"))
    assert set(found["tokens_per_s"]) == set(WAYS) == {"sft", "fused", "dense", "kahan"}
    losses = found["label_loss"]
    assert losses["sft"] == losses["dense"] == pytest.approx(losses["fused"], rel=1e-3)
    assert losses["kahan"] == pytest.approx(losses["fused"], rel=1e-3)
    assert found["sft_over_fused"] > 0 and found["dense_over_fused"] > 0
    assert set(found["peak_mb"].values()) == {None}


def test_every_supervised_token_has_a_whole_distribution():
    batch = made_batch(SMALL, torch.device("cpu"))
    assert len(batch["labels"]) == 2 * 12
    torch.testing.assert_close(batch["logprobs"].exp().sum(1), torch.ones(24))
    assert (batch["input_ids"].flatten()[batch["positions"] + 1] == batch["labels"]).all()
    assert all(len(set(row.tolist())) == 10 for row in batch["ids"])


def test_the_script_ends_with_one_line_of_json_and_says_that_nothing_was_measured(tmp_path):
    """With the interpreter's own packages, and no GPU in sight."""
    pytest.importorskip("bitsandbytes")
    environment = os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", str(ROOT / "benchmarks" / "gpu_distill.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    first, last = done.stdout.splitlines()
    assert first.startswith("no GPU here") and (tmp_path / "gpu_distill.json").read_text() == f"{last}\n"
    found = json.loads(last)
    known = {name: found.pop(name) for name in ("python", "torch", "transformers", "seconds")}
    assert all(known.values()) and found and set(found.values()) == {None}
