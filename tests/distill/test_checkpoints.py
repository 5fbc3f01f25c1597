"""How far a training is, from what it left."""

import json

import pytest

from fusionchat.distill.checkpoints import describe, last_checkpoint


def checkpoint(folder, step, state='{"max_steps": 1200}'):
    (folder / f"checkpoint-{step}").mkdir(parents=True)
    if state is not None:
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(state)


def test_the_newest_whole_checkpoint_counts(tmp_path):
    assert describe(tmp_path / "none") == "" and last_checkpoint(tmp_path) is None
    for step in (200, 1000, 400):
        checkpoint(tmp_path, step)
    assert describe(tmp_path) == "checkpoint at step 1000 of 1200"


@pytest.mark.parametrize("state", [None, "", '{"max_steps": 12', "[]"])
def test_a_checkpoint_that_is_not_whole_does_not(tmp_path, state):
    checkpoint(tmp_path, 400)
    checkpoint(tmp_path, 600, state)
    assert describe(tmp_path) == "checkpoint at step 400 of 1200"
    assert json.loads((last_checkpoint(tmp_path) / "trainer_state.json").read_text())
