"""Stage `fuse`: one set of fused distributions a target. A target has one source, or (``all``) every source."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fusionchat.artifacts import Json
from fusionchat.console import progress
from fusionchat.fuse.fuse import Fused, fuse
from fusionchat.represent.events import Events, events_of, message_bytes
from fusionchat.represent.shards import read_shard, shard_files, shard_path, write_shard
from fusionchat.represent.topk import TopK
from fusionchat.run.estimate import shards
from fusionchat.run.job import Cost, Run, Summary
from fusionchat.stages.align import job_id as align_job
from fusionchat.stages.corpus import read_part
from fusionchat.stages.represent import job_id as represent_job

VERSION = 2  # raised when the same settings and inputs give another output
ALL = "all"


def job_id(target: str) -> str:
    """The job that fuses a target's distributions."""
    return f"fuse/{target}"


def targets(run: Run) -> dict[str, tuple[str, ...]]:
    """The targets and the sources of each: one target a source, and ``all`` if the recipe compares with it."""
    sources = tuple(run.recipe.sources)
    pairs = {name: (name,) for name in sources}
    return pairs | ({ALL: sources} if run.recipe.compare.all_sources else {})


def plan(run: Run) -> None:
    """Plan one job a target."""
    rule = run.recipe.model_dump(include={"fuse"})
    for target, sources in targets(run).items():
        captures = tuple(represent_job(name) for name in ("pivot", *sources))
        run.add(
            "fuse",
            target,
            lambda folder, sources=sources: work(run, sources, folder),  # type: ignore[misc]
            settings=rule | {"sources": list(sources)},  # of equal ones the first is taken
            needs=(*captures, *(align_job(name) for name in sources)),
            cost=Cost(shards(run.recipe), 0.0),
        )


def work(run: Run, sources: Sequence[str], folder: Path) -> Summary:
    """Fuse shard by shard; count the models that conversations took, and the text they were compared over."""
    names = ("pivot", *sources)
    conversations = read_part(run, "train")
    domains = [c.domain for c in conversations]
    weight_rows: dict[str, np.ndarray] = {}
    fallback, rows, scored = 0, 0, Coverage()
    files = shard_files(run.path(represent_job("pivot")))
    with progress(f"fuse {'+'.join(sources)}", len(files), "shards") as advance:
        first = 0
        for index, path in enumerate(files):
            pivot, _ = read_shard(path)
            captures = [read_shard(shard_path(run.path(represent_job(n)), index))[0] for n in names]
            models = [pivot] + [read_shard(shard_path(run.path(align_job(n)), index))[0] for n in sources]
            members = conversations[first : first + pivot.conversations]
            bytes_CT = message_bytes([c.message_bytes for c in members])
            fused = fuse(models, captures, run.recipe.fuse, bytes_CT)
            write_shard(
                shard_path(folder, index),
                fused.topk,
                {"weights": fused.weights.T.astype(np.float16), "fallback": fused.fallback},
            )
            _count(weight_rows, fused, domains[first : first + pivot.conversations])
            scored += coverage(captures, fused, bytes_CT)
            first += pivot.conversations
            fallback, rows = fallback + int(fused.fallback.sum()), rows + pivot.rows
            advance(1)
    shares: dict[str, Json] = {
        domain: {name: round(float(share), 5) for name, share in zip(names, total / total.sum(), strict=True)}
        for domain, total in sorted(weight_rows.items())
    }
    total_bytes = sum(c.supervised_bytes for c in conversations)
    return {
        "rows": rows,
        "fallback_rows": fallback,
        "shares": shares,
        "bytes": total_bytes,
        "unscored_bytes": total_bytes - scored.bytes,
        "unscored_ends": scored.all_ends - scored.ends,
    }


class Coverage(NamedTuple):
    """Bytes and ends of turns over which all models were compared, and the ends that at least one scores."""

    bytes: int = 0
    ends: int = 0
    all_ends: int = 0

    def __add__(self, other: "Coverage") -> "Coverage":  # type: ignore[override]
        return Coverage(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def coverage(captures: Sequence[TopK], fused: Fused, bytes_CT: np.ndarray) -> Coverage:
    """What the models of a shard were compared over."""
    models = [events_of(topk, bytes_CT) for topk in captures]
    shared = Events(*(part[fused.shared] for part in models[0]))
    return Coverage(int(shared.bytes.sum()), shared.ends, max(model.ends for model in models))


def _count(total: dict[str, np.ndarray], fused: Fused, domains: Sequence[str]) -> None:
    """Add each conversation's mean weight of each model to its domain."""
    sizes = np.maximum(np.diff(fused.topk.offsets), 1)
    sums = np.add.reduceat(fused.weights.astype(np.float64), fused.topk.offsets[:-1], axis=1)
    for column, domain in zip((sums / sizes).T, domains, strict=True):
        total[domain] = total.get(domain, np.zeros(len(column))) + column
