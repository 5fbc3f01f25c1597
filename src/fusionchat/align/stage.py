"""Stage `align`: carry every source's distributions over to the pivot's rows and vocabulary. One job a source."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from fusionchat.align.project import align, count_partners
from fusionchat.align.statistics import PairCounts, merge_counts
from fusionchat.align.summary import AlignSummary, summarize
from fusionchat.align.vocabulary import BytePrefix, Statistics, VocabularyMap, build_map, coverage
from fusionchat.artifacts import atomic_path, canonical, write_json
from fusionchat.console import progress
from fusionchat.corpus.stage import make_renderer, read_part
from fusionchat.estimate import shards
from fusionchat.jobs import Cost, Run, Summary
from fusionchat.represent.events import message_bytes
from fusionchat.represent.shards import Arrays, read_shard, shard_files, shard_path, shard_range, write_shard
from fusionchat.represent.stage import job_id as represent_job
from fusionchat.represent.topk import TopK
from fusionchat.tokens.table import TokenTable

VERSION = 4  # raised when the same settings and inputs give another output
MAP = "vocabulary_map.safetensors"


def job_id(source: str) -> str:
    """The job that aligns a source to the pivot."""
    return f"align/{source}"


def plan(run: Run) -> None:
    """Plan one job a source."""
    for source in run.recipe.sources:
        run.add(
            "align",
            source,
            lambda folder, source=source: work(run, source, folder),  # type: ignore[misc]
            settings={"align": asdict(run.recipe.align)},
            needs=(represent_job("pivot"), represent_job(source)),
            cost=Cost(shards(run.recipe), 0.0),
        )


def work(run: Run, source: str, folder: Path) -> Summary:
    """Build the vocabulary map and project shard by shard; ``kind`` and ``kept`` of each row go with the shards."""
    settings = run.recipe.align
    tables = make_renderer(run.refs["pivot"]).table, make_renderer(run.refs[source]).table
    files = shard_files(run.path(represent_job("pivot")))
    conversations = read_part(run, "train")
    with progress(f"align {source}", len(files), "shards") as advance:
        mapping = make_map(run, source, *tables)
        total = AlignSummary()
        used = np.zeros(tables[1].size, np.int64)
        for index in range(len(files)):
            pivot, captured = read_pair(run, source, index)
            aligned = align(pivot, captured, mapping, *tables, settings)
            extras: Arrays = {"kind": aligned.kind, "kept": aligned.kept.astype(np.float16)}
            write_shard(shard_path(folder, index), aligned.topk, extras)
            members = [conversations[i] for i in shard_range(index, len(conversations))]
            total = total + summarize(
                pivot, captured, aligned, message_bytes([c.message_bytes for c in members])
            )
            used += np.bincount(captured.labels, minlength=len(used))
            advance(1)
    save_map(mapping, folder)
    covered = coverage(mapping, tables[1], np.repeat(np.arange(len(used)), used))
    write_json(folder / "coverage.json", covered._asdict())
    return {"method": mapping.method, **{k: round(v, 6) for k, v in total.figures().items()}}


def read_pair(run: Run, source: str, index: int) -> tuple[TopK, TopK]:
    """A shard of the pivot's capture and the source's shard of the same conversations."""
    pivot, captured = (
        read_shard(shard_path(run.path(represent_job(n)), index))[0] for n in ("pivot", source)
    )
    return pivot, captured


def make_map(run: Run, source: str, pivot_table: TokenTable, source_table: TokenTable) -> VocabularyMap:
    """The recipe's vocabulary map for a pair; methods that use partners count them over the whole corpus first."""
    settings = run.recipe.align
    counts: PairCounts | None = None
    same = source_table.same_text_tokens(pivot_table)
    if isinstance(settings.vocabulary, BytePrefix | Statistics) and not same:
        files = shard_files(run.path(represent_job("pivot")))
        pairs = (read_pair(run, source, index) for index in range(len(files)))
        counts = merge_counts([count_partners(p, s, pivot_table, source_table, settings) for p, s in pairs])
    return build_map(source_table, pivot_table, settings.vocabulary, counts)


def save_map(mapping: VocabularyMap, folder: Path) -> None:
    """Keep the map as an artifact; one metadata entry, since safetensors writes several in no fixed order."""
    with atomic_path(folder / MAP) as partial:
        save_file(mapping.arrays(), partial, metadata={"map": canonical(mapping.labels())})
