"""The checkpoints of a training."""

import json
from pathlib import Path


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint (Trainer writes its state last); None if there is none."""
    found = sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)
    return next((path for path in found if _state(path) is not None), None)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def describe(folder: Path) -> str:
    """The progress of a training: ``checkpoint at step 400 of 1200``, "" if there is no checkpoint yet."""
    checkpoint = last_checkpoint(folder)
    state = None if checkpoint is None else _state(checkpoint)
    if checkpoint is None or state is None:
        return ""
    return f"checkpoint at step {step_of(checkpoint)} of {state.get('max_steps', '?')}"


def _state(checkpoint: Path) -> dict[str, object] | None:
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None
