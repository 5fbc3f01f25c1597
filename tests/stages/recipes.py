"""Recipes as values, and jobs that are done, without models."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.evaluate.scores import Items, Scores, write_scores
from fusionchat.recipe.schema import Recipe
from fusionchat.run.job import Inputs, Job
from fusionchat.settings import Frozen

WHOLE = {
    "name": "x", "pivot": "p", "sources": {"a": "m", "b": "n"},
    "corpus": {"train": "t.jsonl", "validation": 0.1, "test": 0.1},
}  # fmt: skip


def recipe(**changes) -> Recipe:
    """A recipe of two sources, without comparisons but SFT."""
    return Recipe.model_validate(WHOLE | changes)


def evaluated(folder: Path, weight: str, bits: float) -> str:
    """An evaluation of varm on validation with these bits per byte; returns the job."""
    job = f"evaluate/validation/varm@{weight}"
    (folder / job).mkdir(parents=True)
    talks = [Conversation("c", (Message("assistant", "abcd"),))]
    items = Items.of(talks, [4 * bits], sizes=np.array([4]))
    write_scores(folder / job, Scores(1, {"bits_per_byte": items}, {}, folder / job))
    return job


def inputs(folder: Path, *needs: str) -> Inputs:
    """What a job of stage `merge` with these needs reads."""
    return Inputs(folder, Job(stage="merge", name="x", version=1, settings=Frozen(), needs=needs))


def summarized(folder=None, **summaries):
    """Finished jobs with these summaries; ``__`` in a name is a slash."""
    held = {
        name.replace("__", "/"): SimpleNamespace(summary=summary, seconds=2.5)
        for name, summary in summaries.items()
    }
    return SimpleNamespace(manifest=held.__getitem__, folder=lambda job: folder / job)
