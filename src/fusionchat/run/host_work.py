"""Memory and time of jobs that compute without a GPU.

These are the corpus, alignments, fusions, merges and the report.
"""

import os
from collections.abc import Mapping

from fusionchat.merge.stream.memory import private_bytes
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe
from fusionchat.represent.store.cut import shard_rows
from fusionchat.run.estimate import DISK_RATE, OVERHEAD, parameters, train_tokens
from fusionchat.run.job import Job
from fusionchat.run.training_memory import PROCESS

TALK = 11.0
"""Bytes per token of conversations that are read: the text and Python's objects around it.

9 MB of dialogues took 24 MB.
"""
MADE = 18.0
"""Bytes per token of a model's renderings while the corpus is made.

2.2 million tokens for three models took 117 MB.
"""
SLOT = 128
"""Bytes of a slot of a shard that is projected or fused: 16 numbers of float64, a rough guess."""
RENDERED = 250e3
"""Tokens a second that one processor core renders (2.2 million in 8.6 s of processor time)."""
ROWS = 300e3
"""Rows per second of an alignment or fusion, shards to shard.

docs/results/alignment_benchmark.md has 540,000.
"""
COPIES = 2
"""Shards in memory at once: the one that is read and the one that is made."""


def host_memory(job: Job, recipe: Recipe, refs: Mapping[str, ModelRef]) -> float | None:
    """Bytes of the process that makes a job on the host; None if unknown."""
    if job.resources.memory is not None:
        return job.resources.memory
    tokens = train_tokens(recipe)
    if job.stage == "corpus":
        return None if tokens is None else PROCESS + MADE * len(refs) * tokens
    if job.stage in ("align", "fuse"):
        shard = COPIES * SLOT * shard_rows(parameters(refs["pivot"])) * recipe.represent.k
        return None if tokens is None else PROCESS + TALK * tokens + shard
    if job.stage == "merge":
        return PROCESS + _of_merge(job, recipe)
    return OVERHEAD


def host_seconds(job: Job, recipe: Recipe, refs: Mapping[str, ModelRef]) -> float | None:
    """Seconds that a job takes on the host, without waiting for a server; None if unknown."""
    tokens = train_tokens(recipe)
    if job.stage == "represent":  # what another program computes
        return 0.0
    if job.stage in ("corpus", "align", "fuse"):
        each = len(refs) / RENDERED if job.stage == "corpus" else 1 / ROWS
        return None if tokens is None else tokens * each
    return None if job.cost.disk is None else job.cost.disk / DISK_RATE


def _of_merge(job: Job, recipe: Recipe) -> float:
    """Bytes of a merge's blocks, with one target for each source, and rows no longer than a block."""
    width = 4 if recipe.fused.dtype == "float32" else 2
    threads = job.resources.threads or os.cpu_count() or 1
    targets = max(len(recipe.sources), recipe.sft_seeds)
    return float(private_bytes(targets, 0, width=width, threads=threads))
