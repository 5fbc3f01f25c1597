"""The capture benchmark runs to its end at toy size, with the keys that are promised, and its baselines do what is said."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks.capture_case import made_head, made_text, text_of

from benchmarks import capture, capture_before, capture_floor, capture_memory
from fusionchat.represent.select import select

KEYS = {
    "of_floor", "over_60dfd0c", "bf16_over_fp32", "selection_over_topk", "selection_over_pass", "extra_mb", "ms_a_token",
}  # fmt: skip
CASES = {f"{size}_{dtype}" for size in capture.SIZES for dtype in capture.DTYPES}


def test_it_measures_every_figure(monkeypatch, capsys):
    monkeypatch.setattr(capture, "SIZES", {"v49k": 900, "v152k": 1800})
    monkeypatch.setattr(capture, "extra_mb", lambda vocabulary, dtype, layers, batches: vocabulary)
    found = capture.measure(300, 1, 1, (1, 1))
    assert set(found) == KEYS
    assert set(found["of_floor"]) == set(found["ms_a_token"]) == CASES
    assert set(found["over_60dfd0c"]) == CASES | set(capture.SIZES)
    assert found["extra_mb"] == {case: 900 if "49" in case else 1800 for case in CASES}
    assert all(value > 0 for value in found["of_floor"].values()) and found["selection_over_topk"] > 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 10 and len({line.count("|") for line in table}) == 1


def test_memory_is_measured_by_the_other_module(monkeypatch, capsys):
    """The command that a process is started with, run in this one."""

    def run(command, **_):
        monkeypatch.setattr("sys.argv", command[2:])
        assert command[1:3] == ["-m", "benchmarks.capture_memory"]
        capture_memory.main()
        return SimpleNamespace(stdout=capsys.readouterr().out)

    monkeypatch.setattr(capture.subprocess, "run", run)
    monkeypatch.setattr(capture_memory, "LENGTH", 2048)  # of two conversations
    assert 0 <= capture.extra_mb(100, torch.float32, 1, 1) < 2000


def test_a_peak_is_seen_after_it_is_over():
    def work():
        held = np.ones(2**23)
        time.sleep(
            0.2
        )  # numpy fills it without letting go of Python's lock; who watches needs a moment to look
        del held

    assert 60e6 < capture_memory.peak(work) < 400e6


def test_the_text_has_its_tokens():
    text = made_text(1000, 50)
    assert int(text.lengths.sum()) == 1000 and 0 < len(text.places) < 600
    assert text_of([4, 6], 50).lengths.tolist() == [4, 6] and len(text_of([4, 6], 50).places) == 5


def test_the_floor_s_batches_are_sorted_and_keep_to_the_budget():
    batches = capture_floor.padded([[1, 2], [3, 4, 5], [6]], 6)
    assert [b.tolist() for b in batches] == [[[3, 4, 5], [1, 2, 0]], [[6]]]


def test_the_floor_grows_with_the_rows():
    model, text = made_head(90, 1, torch.float32).model, [[1, 2, 3]]
    body, product, one_pass = capture_floor.floor(model, text, 10, 64, 1)
    assert min(body, product, one_pass) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loop_of_before_selects_the_same(dtype):
    logits = torch.randn(4, 3000, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(4, dtype=torch.long)
    was, now = capture_before.select(logits, labels, 5), select(logits.clone(), labels, 5)
    assert torch.equal(was.ids, now.ids) and torch.equal(was.ids, logits.topk(5).indices)
    torch.testing.assert_close(was.tail, now.tail)
    torch.testing.assert_close(was.label_logprob, now.label_logprob)
    capture_before.before(made_head(90, 1, dtype), made_text(100, 90), 5)
