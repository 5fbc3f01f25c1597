"""The capture benchmark runs to its end at toy size, with the keys that are promised, and its baseline selects the same."""

import torch

from benchmarks import capture
from fusionchat.represent.select import select

KEYS = {
    "of_floor", "over_60dfd0c", "bf16_over_fp32", "selection_over_topk", "selection_over_pass", "extra_mb",
}  # fmt: skip


def test_it_measures_every_figure(monkeypatch):
    monkeypatch.setattr(capture, "SIZES", {"v49k": 900, "v152k": 1800})
    found = capture.measure(300, 1, 1)
    assert set(found) == KEYS
    both = {f"{size}_{dtype}" for size in capture.SIZES for dtype in ("fp32", "bf16")}
    assert set(found["of_floor"]) == both == set(found["extra_mb"])
    assert set(found["over_60dfd0c"]) == set(capture.SIZES)
    assert all(value > 0 for value in found["of_floor"].values()) and found["selection_over_topk"] > 0


def test_the_text_has_its_tokens_and_the_old_selection_leaves_the_logits_as_they_were():
    text = capture.made_text(1000, 50)
    assert int(text.lengths.sum()) == 1000 and 0 < len(text.places) < 600
    logits = torch.randn(4, 3000, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(4, dtype=torch.long)
    capture.old_select(logits, labels)
    assert torch.equal(select(logits.clone(), labels, 5).ids, logits.topk(5).indices)
