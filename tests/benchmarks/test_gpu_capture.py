"""What is measured on a GPU runs to its end here at toy size: no GPU's minute is spent on a typo."""

import json
import os
import subprocess
import sys

import pytest
import torch
from benchmarks.gpu_capture import TOY, kinds, measure, worst

from tests.structure import ROOT


def test_the_figures_are_sane_at_toy_size():
    found = measure(TOY, torch.device("cpu"))
    assert found["topk_same"] is True and found["store_same"] is True
    assert found["logprob_error"] < 1e-5 and found["tail_error"] < 1e-5
    assert found["head_error"]["fp32_out"] < 1e-5 < 1e-4 < found["head_error"]["bf16_out"]
    assert found["plain_nats"]["float32"] < 1e-4 < found["plain_nats"]["bfloat16"] < 0.2
    assert set(found["tokens_per_s"]) == {"64", "128"} and found["extra_mb"] == {
        "body": None,
        "capture": None,
    }
    names = ("of_forward", "of_model", "selection_over_topk", "selection_over_pass", "selection_us_a_row")
    assert all(found[name] > 0 for name in names)


def test_the_script_ends_with_one_line_of_json_and_says_that_nothing_was_measured(tmp_path):
    """With the interpreter's own packages, and no GPU in sight."""
    environment = os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", str(ROOT / "benchmarks" / "gpu_capture.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    lines = done.stdout.splitlines()
    assert (
        lines[0].startswith("no GPU here") and (tmp_path / "gpu_capture.json").read_text() == f"{lines[-1]}\n"
    )
    found = json.loads(lines[-1])
    known = {name: found.pop(name) for name in ("python", "torch", "transformers", "seconds")}
    assert all(known.values()) and found and set(found.values()) == {None}
    assert sum(line.endswith("not measured") for line in lines) == len(found)


def test_kinds_of_logits_have_ties_padding_and_a_tiny_tail():
    plain, ties, padded, peaked = kinds(torch.randn(3, 500, generator=torch.Generator().manual_seed(0)) * 3)
    assert len(ties[0][0].unique()) < 100 and (plain[1], padded[1]) == (500, 423)
    others = peaked[0].double().log_softmax(1).index_fill(1, torch.tensor([5]), -torch.inf).logsumexp(1)
    assert -50 < others.min() <= others.max() < -30


@pytest.mark.parametrize(
    ("found", "exact", "expected"), [([1.0, 2.0], [1.5, 2.0], 0.5), ([float("nan")], [1.0], float("inf"))]
)
def test_the_largest_difference(found, exact, expected):
    assert worst(torch.tensor(found), torch.tensor(exact).double()) == expected
