"""Alignment: speed, exactness and retention on real tokenizers and real texts.

    python -m benchmarks.align [--quick]

One core. Each figure is measured in this run, ours and the baseline side by side; times are the best of several.

- ``positions_tokens_per_s``: pivot tokens attached to source rows by byte offsets.
- ``dtw_ratio``: that speed over a plain-Python dynamic time warping with edit distances, as published
  (tests/reference/align.py), on the same dialogue; ``dtw_numba_ratio``: our ``positions: dtw`` over it, same result.
- ``stage_rows_per_s``: pivot rows from two captured shards on disk to a projected shard on disk, k = 10, 152k onto 32k.
- ``map_s``, ``map_peak_mb``: building the maps 152k onto 32k, and the memory that takes; ``statistics_per_10m`` is counting.
- ``wrong_context``: rows, over all pairs of tokenizers and all texts, whose context is not the source's context.
- ``mass_error``: the largest |kept + tail - 1| of any projected row; ``accepted``: share of (conversation, pair) usable.
- ``retention``: see ``fusionchat.align.summary``; of a 4-gram model trained with the real tokenizer on the real
  dialogues, k = 10. ``map_retention``: without the observed path. ``aligned_bytes``: the share of the bytes these two speak of.
  ``text_retention``: on all bytes, the pivot's own distribution standing in for rows that are not aligned.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
from tests.reference import align as slow

from benchmarks.align_data import (
    LARGE,
    SMALL,
    TEXTS,
    conversations,
    renderers,
    require_data,
    scored,
    usable,
    whole_turns,
)
from benchmarks.align_memory import map_peak_mb
from fusionchat.align.baselines.dtw import attach_by_dtw
from fusionchat.align.cooccurrence import count_pairs
from fusionchat.align.positions import attach
from fusionchat.align.projection.arrays import UNALIGNED
from fusionchat.align.projection.project import project
from fusionchat.align.settings import AlignSettings, BytePrefix, MinEdit
from fusionchat.align.summary import summarize
from fusionchat.align.vocabulary import build_map
from fusionchat.arrays import map_arrays, save_arrays
from fusionchat.corpus.agree import agree_all
from fusionchat.corpus.conversation import Reject
from fusionchat.corpus.render import Renderer
from fusionchat.corpus.rendered_part import join
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.store.layout import Encoding
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter, write_store
from fusionchat.represent.topk import Scored, TopK

Sides = dict[str, Renderer]


def best(work: Callable[[], object], times: int = 5) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    work()
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)


def grown(tokens: SupervisedTokens, times: int) -> SupervisedTokens:
    """The same tokens again and again."""
    parts = {f.name: np.tile(getattr(tokens, f.name), times) for f in fields(tokens) if f.name != "offsets"}
    ends = np.cumsum(np.tile(np.diff(tokens.offsets), times))
    return SupervisedTokens(**parts, offsets=np.concatenate([[0], ends]))


def grown_scored(scored: Scored, times: int) -> Scored:
    """The same tokens and distributions again and again."""
    topk = scored.topk
    rows = TopK(*(np.concatenate([getattr(topk, f.name)] * times) for f in fields(topk)))
    return Scored(grown(scored.tokens, times), rows, np.tile(scored.label_logprob, times))


def random_scored(spans: SupervisedTokens, renderer: Renderer, seed: int, k: int = 10) -> Scored:
    """Random distributions for supervised tokens: tokens by a Zipf law, the label among them nine times in ten."""
    rng = np.random.default_rng(seed)
    text = np.flatnonzero(renderer.table.in_text)
    n = spans.rows
    ids = text[np.minimum(rng.zipf(1.3, (n, k + 4)), len(text)) - 1].astype(np.int32)
    ids = np.stack(
        [
            row[np.sort(np.unique(row, return_index=True)[1])][:k] if len(set(row)) >= k else text[:k]
            for row in ids
        ]
    )
    hit = (rng.random(n) < 0.9) & ~(ids == spans.labels[:, None]).any(axis=1)
    ids[hit, rng.integers(0, k, hit.sum())] = spans.labels[hit]
    logits = -np.sort(-rng.normal(size=(n, k)) * 3, axis=1)
    rest = rng.normal(size=n) * 2 - 1
    norm = np.log(np.exp(logits).sum(axis=1) + np.exp(rest))
    logprobs, tail = logits - norm[:, None], rest - norm
    found = ids == spans.labels[:, None]
    label = np.where(found.any(axis=1), (logprobs * found).sum(axis=1), tail - 3)
    topk = TopK(
        ids.astype(np.int32), logprobs.astype(np.float16), tail.astype(np.float16), np.ones(n, np.bool_)
    )
    return Scored(spans, topk, label.astype(np.float32))


def speeds(pivot: Scored, source: Scored, sides: Sides, quick: bool) -> dict[str, float]:
    """Positions, dynamic time warping and the stage, 152k onto 32k."""
    tables = sides[SMALL].table, sides[LARGE].table
    times = -(-(500_000 if quick else 4_000_000) // pivot.tokens.rows)
    many = grown_scored(pivot, times), grown_scored(source, times)
    tokens = many[0].tokens, many[1].tokens
    positions = tokens[0].rows / best(lambda: attach(*tokens))
    lengths = np.diff(pivot.tokens.offsets)
    one = int(np.argmin(np.abs(lengths - (150 if quick else 350))))
    mine, theirs = pivot.tokens.slice(one, one + 1), source.tokens.slice(one, one + 1)
    ours_dtw = best(lambda: attach_by_dtw(mine, theirs, *tables))
    start = time.perf_counter()
    expected = published(mine, theirs, sides)
    python = time.perf_counter() - start
    assert attach_by_dtw(mine, theirs, *tables).row.tolist() == expected, (
        "the same result as the published code"
    )
    return {
        "positions_tokens_per_s": round(positions),
        "dtw_ratio": round(positions * python / mine.rows),
        "dtw_numba_ratio": round(python / ours_dtw, 1),
        "stage_rows_per_s": round(stage(*many, sides, 200_000 if quick else 500_000)),
    }


def published(pivot: SupervisedTokens, source: SupervisedTokens, sides: Sides) -> list[int]:
    """The published alignment of one conversation, turn by turn, in plain Python."""
    rows: list[int] = []
    for turn in np.unique(pivot.turn):
        mine, theirs = np.flatnonzero(pivot.turn == turn), np.flatnonzero(source.turn == turn)
        spelled = [sides[SMALL].table.token(t) for t in pivot.labels[mine]]
        rows += [
            int(theirs[j])
            for j in slow.dtw(spelled, [sides[LARGE].table.token(t) for t in source.labels[theirs]])
        ]
    return rows


def stage(pivot: Scored, source: Scored, sides: Sides, rows: int) -> float:
    """Rows per second from captured shards and the tokens to a projected shard, files included."""
    last = int(np.searchsorted(pivot.tokens.offsets, rows))
    tables = sides[SMALL].table, sides[LARGE].table
    mapping = build_map(tables[1], tables[0], BytePrefix())
    sizes = whole_turns(pivot.tokens.slice(0, last))  # the stage has them from the corpus
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = {"pivot": tables[0].size, "source": tables[1].size}
        for name, scored in (("pivot", pivot), ("source", source)):
            part = scored.slice(0, last)
            save_arrays(Path(folder) / f"{name}-tokens", vars(part.tokens))
            write_store(Path(folder) / name, part, rows=part.topk.rows, encoding=Encoding(vocabulary[name]))

        def read(name: str) -> Scored:
            tokens = SupervisedTokens(**map_arrays(Path(folder) / f"{name}-tokens"))  # type: ignore[arg-type]
            return DistributionStore(Path(folder) / name).scored(tokens, 0, last)

        def work() -> None:
            mine, theirs = read("pivot"), read("source")
            aligned = project(mine.tokens, theirs, mapping, tables, AlignSettings())
            summarize(mine, theirs, aligned, sizes)
            extras = {"kind": aligned.kind, "kept": aligned.kept.astype(np.float16)}
            out = StoreWriter(
                Path(folder) / "aligned", mine.tokens.offsets, [range(last)], Encoding(vocabulary["pivot"])
            )
            out.write_scored(0, Scored(mine.tokens, aligned.topk, aligned.label_logprob), extras)

        return float(pivot.tokens.offsets[last]) / best(work, 8)


def maps(pivot: SupervisedTokens, source: SupervisedTokens, sides: Sides) -> dict[str, float]:
    """Seconds to build each map, 152k onto 32k."""
    mine, theirs = sides[SMALL].table, sides[LARGE].table
    met = attach(pivot, source)
    exact = np.flatnonzero((met.row >= 0) & (met.residual == 0))
    pairs = source.labels[met.row[exact]], pivot.labels[exact]
    many = [np.tile(side, -(-10_000_000 // len(side)))[:10_000_000] for side in pairs]
    start = time.perf_counter()
    build_map(theirs, mine, MinEdit())
    min_edit = time.perf_counter() - start
    return {
        "byte_prefix": round(best(lambda: build_map(theirs, mine, BytePrefix())), 3),
        "min_edit": round(min_edit, 1),
        "statistics_per_10m": round(best(lambda: count_pairs(*many), 3), 3),
    }


def contexts(tokens: SupervisedTokens, renderer: Renderer) -> list[bytes]:
    """The text of the turn before every row, put together from token bytes: independent of the offsets."""
    out: list[bytes] = []
    before, turn = b"", -1
    for i in range(tokens.rows):
        if tokens.turn[i] != turn or tokens.begin[i] <= 0:
            before, turn = b"", int(tokens.turn[i])
        out.append(before)
        before += renderer.table.token(int(tokens.labels[i]))[max(-int(tokens.begin[i]), 0) :]
    return out


def acceptance(sides: Sides, most: int) -> dict[str, float]:
    """The share of (conversation, pair of tokenizers) that can be used, over all texts; prints the rejects."""
    reasons: Counter[str] = Counter()
    accepted, total = 0, 0
    for text in TEXTS:
        items = conversations(text, most)
        agreed = {name: [agree_all(c, [s]) for c in items] for name, s in sides.items()}
        good = {name: np.array([not isinstance(r, Reject) for r in a]) for name, a in agreed.items()}
        reasons.update(
            f"{name}: {r.reason}" for name, a in agreed.items() for r in a if isinstance(r, Reject)
        )
        for a, b in itertools.permutations(sides, 2):
            accepted += int((good[a] & good[b]).sum())
            total += len(items)
    for reason, count in sorted(reasons.items()):
        print(f"  rejected by {reason}: {count}")
    print(f"  {total:,} (conversation, pair of tokenizers) looked at")
    return {"accepted": round(accepted / total, 5)}


def exactness(sides: Sides, most: int) -> dict[str, float]:
    """Contexts and mass over all pairs of tokenizers and all texts."""
    wrong, error, rows = 0, 0.0, 0
    mappings = {
        (a, b): build_map(sides[b].table, sides[a].table, BytePrefix())
        for a, b in itertools.permutations(sides, 2)
    }
    for text in TEXTS:
        good = list(usable(conversations(text, most), list(sides.values())))
        spans = {name: join([s.render(c) for c in good]).supervised for name, s in sides.items()}  # type: ignore[misc]
        read = {name: contexts(spans[name], s) for name, s in sides.items()}
        dense = {name: random_scored(spans[name], s, i) for i, (name, s) in enumerate(sides.items())}
        for (a, b), mapping in mappings.items():
            wrong += wrong_contexts(spans[a], spans[b], read[a], read[b], sides[b])
            result = project(
                dense[a].tokens, dense[b], mapping, (sides[a].table, sides[b].table), AlignSettings()
            )
            aligned = result.kind != UNALIGNED
            mass = np.exp(result.topk.logprobs.astype(np.float64)).sum(axis=1)
            mass += np.exp(result.topk.tail.astype(np.float64))
            error = max(error, float(np.abs(mass - 1)[aligned].max(initial=0.0)))
            rows += spans[a].rows
    print(f"  {rows:,} rows checked over {len(mappings)} pairs")
    return {"wrong_context": wrong, "mass_error": round(error, 6)}


def wrong_contexts(
    pivot: SupervisedTokens, source: SupervisedTokens, mine: list[bytes], theirs: list[bytes], side: Renderer
) -> int:
    """Rows whose context is not the source row's context with the residual, byte for byte; and rows without a row."""
    met, wrong = attach(pivot, source), 0
    for i, (j, residual) in enumerate(zip(met.row.tolist(), met.residual.tolist(), strict=True)):
        if j < 0:
            wrong += 1
            continue
        seen = side.table.token(int(source.labels[j]))[:residual][max(-int(source.begin[j]), 0) :]
        wrong += theirs[j] + seen != mine[i]
    return wrong


def retention(sides: Sides, most: int) -> dict[str, dict[str, dict[str, float]]]:
    """Retention of both directions on each language."""
    names = ("retention", "map_retention", "text_retention", "aligned_bytes")
    figures: dict[str, dict[str, dict[str, float]]] = {name: {} for name in names}
    for text in ("en", "code", "zh"):
        items = list(usable(conversations(text, most), list(sides.values())))
        tops = {name: scored(s, items) for name, s in sides.items()}
        for label, pivot, source in (("152k->32k", SMALL, LARGE), ("32k->152k", LARGE, SMALL)):
            tables = sides[pivot].table, sides[source].table
            mapping = build_map(tables[1], tables[0], BytePrefix())
            aligned = project(tops[pivot].tokens, tops[source], mapping, tables, AlignSettings())
            total = summarize(tops[pivot], tops[source], aligned, whole_turns(tops[pivot].tokens))
            figures["retention"].setdefault(label, {})[text] = round(total.retention, 4)
            figures["map_retention"].setdefault(label, {})[text] = round(total.map_retention, 4)
            figures["text_retention"].setdefault(label, {})[text] = round(total.text_retention, 4)
            figures["aligned_bytes"].setdefault(label, {})[text] = round(total.aligned_bytes / total.bytes, 4)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Alignment: speed, exactness, retention.")
    parser.add_argument("--quick", action="store_true", help="smaller samples, under a minute")
    quick = parser.parse_args().quick
    require_data()
    started = time.perf_counter()
    sides = renderers()
    pair = {name: sides[name] for name in (SMALL, LARGE)}
    items = list(usable(conversations("en", 60 if quick else 200), list(pair.values())))
    pivot, source = (scored(s, items) for s in pair.values())
    figures: dict[str, object] = dict(speeds(pivot, source, pair, quick))
    figures["map_s"] = maps(pivot.tokens, source.tokens, pair)
    figures["map_peak_mb"] = map_peak_mb()
    figures |= exactness(sides, 4 if quick else 40)
    figures |= acceptance(sides, 20 if quick else 100_000)
    figures |= retention(pair, 120 if quick else 1000)
    for name, value in figures.items():
        print(f"  {name:24} {value}")
    print(f"  {'seconds':24} {time.perf_counter() - started:.0f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
