"""What `plan` predicts of the benchmark's trainings."""

import pytest
from benchmarks.plan_memory import CASES, PASSES, SIZES, corpus, predicted, settings


def test_predictions_are_of_the_structures_they_are_named_after():
    whole = {case: predicted(case, "135m", 256) for case in CASES}
    assert whole["full"].trained == pytest.approx(4 * 134.5e6, rel=0.002)
    assert whole["fsdp2"].optimizer == whole["full"].optimizer / 2
    assert whole["kahan"].gradients == whole["full"].gradients / 2
    assert whole["lora"].frozen == whole["full"].trained and whole["lora"].total < whole["full"].total / 2
    assert predicted("full", "0.5b", 256).trained == pytest.approx(4 * 494e6, rel=0.002)


def test_every_step_has_several_passes_that_are_full():
    rendered, soft = corpus(4, 100, SIZES["toy"]["vocab_size"])
    assert [len(one.input_ids) for one in rendered] == [100] * 4
    assert all(len(one.rows) == topk.rows == 60 for one, topk in zip(rendered, soft, strict=True))
    assert settings("full").batch_size == PASSES
