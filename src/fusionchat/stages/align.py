"""Stage `align`: carry every source's distributions over to the pivot's rows and vocabulary.

There is one job for each source.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from safetensors.numpy import save_file

from fusionchat.align.cooccurrence import PairCounts, merge_counts
from fusionchat.align.projection.project import count_partners, project
from fusionchat.align.settings import AlignSettings, BytePrefix, Statistics
from fusionchat.align.summary import AlignSummary, summarize
from fusionchat.align.vocabulary import VocabularyMap, build_map, coverage
from fusionchat.artifacts import Json, atomic_path, canonical, write_json
from fusionchat.console import progress
from fusionchat.corpus.rendered_part import StoredPart
from fusionchat.represent.events import message_bytes
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter
from fusionchat.represent.topk import Scored
from fusionchat.run.estimate import shards
from fusionchat.run.job import Context, Cost, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.settings import Grown
from fusionchat.stages.corpus import files_of, make_renderer, read_part, read_tokens
from fusionchat.stages.names import Trained, aligned, captured, corpus_of
from fusionchat.tokens.table import TokenTable

VERSION = 6  # raised when the same settings and inputs give another output
MAP = "vocabulary_map.safetensors"


class Settings(Grown):
    """Everything that changes an alignment except the captures.

    Attributes:
        source: The source's name.
        align: How its distributions are carried over to the pivot.
        of: The target whose own answers were captured; None for the corpus alone.
    """

    later: ClassVar[tuple[str, ...]] = ("of",)
    source: str
    align: AlignSettings
    of: Trained | None = None


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan one job per source."""
    plan_alignments(run, tuple(run.recipe.sources))


def plan_alignments(run: Run, sources: Sequence[str], of: Trained | None = None) -> None:
    """Plan the alignments of some sources, over the corpus or for a later round of a target."""
    corpus = corpus_of(of)
    for source in sources:
        run.add(
            "align",
            aligned(source, of).removeprefix("align/"),
            Settings(source=source, align=run.recipe.align, of=of),
            needs=(corpus, captured("pivot", of), captured(source, of)),
            reads={corpus: files_of("train", "pivot", source)},
            content=run.follows("pivot") | run.follows(source),
            cost=Cost(shards(run.recipe), 0.0),
        )


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """Nothing, since an unfinished alignment starts over."""
    return ""


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Build the vocabulary map and project, in the shards and the encoding of the pivot's capture.

    The shards also have ``kind`` and ``kept`` of each row.
    """
    tables = make_renderer(inputs.model("pivot")).table, make_renderer(inputs.model(settings.source)).table
    corpus = inputs.folder(corpus_of(settings.of))
    conversations = read_part(corpus, "train")
    tokens = [read_tokens(corpus, "train", name) for name in ("pivot", settings.source)]
    folders = [inputs.folder(captured(name, settings.of)) for name in ("pivot", settings.source)]
    stores = [DistributionStore(f).require(own.offsets) for f, own in zip(folders, tokens, strict=True)]
    ranges = stores[0].ranges
    writer = StoreWriter(out, tokens[0].offsets, ranges, stores[0].encoding, inputs.job.fingerprint)
    with progress(f"align {settings.source}", len(ranges), "shards") as advance:
        mapping = make_map(settings.align, tokens, ranges, *tables)
        total = AlignSummary()
        used = np.zeros(tables[1].size, np.int64)
        for index, shard in enumerate(ranges):
            pivot, taken = (
                store.scored(own, shard.start, shard.stop) for store, own in zip(stores, tokens, strict=True)
            )
            aligned = project(pivot.tokens, taken, mapping, tables, settings.align)
            writer.write_scored(
                index,
                Scored(pivot.tokens, aligned.topk, aligned.label_logprob),
                {"kind": aligned.kind, "kept": aligned.kept.astype(np.float16)},
            )
            members = conversations[shard.start : shard.stop]
            total = total + summarize(
                pivot, taken, aligned, message_bytes([c.message_bytes for c in members])
            )
            used += np.bincount(taken.tokens.labels, minlength=len(used))
            advance(1)
    save_map(mapping, out)
    covered = coverage(mapping, tables[1], np.repeat(np.arange(len(used)), used))
    write_json(out / "coverage.json", covered._asdict())
    return {"method": mapping.method, **{k: round(v, 6) for k, v in total.figures().items()}}


def make_map(
    settings: AlignSettings,
    tokens: Sequence[StoredPart],
    ranges: Sequence[range],
    pivot_table: TokenTable,
    source_table: TokenTable,
) -> VocabularyMap:
    """The recipe's vocabulary map for a pair of tokenizers.

    Methods that use partners count them over the whole corpus first.
    """
    counts: PairCounts | None = None
    same = source_table.same_text_tokens(pivot_table)
    if isinstance(settings.vocabulary, BytePrefix | Statistics) and not same:
        pairs = ([side.slice(shard.start, shard.stop) for side in tokens] for shard in ranges)
        counts = merge_counts([count_partners(p, s, pivot_table, source_table, settings) for p, s in pairs])
    return build_map(source_table, pivot_table, settings.vocabulary, counts)


def save_map(mapping: VocabularyMap, folder: Path) -> None:
    """Save the map as an artifact, with one metadata entry, since safetensors orders several arbitrarily."""
    with atomic_path(folder / MAP) as partial:
        save_file(mapping.arrays(), partial, metadata={"map": canonical(mapping.labels())})
