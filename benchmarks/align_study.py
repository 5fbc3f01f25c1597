"""The study behind the defaults of `align`: maps, the mid-token rule, the observed path, the tail's share, DTW.

    python -m benchmarks.align_study [--quick]

Prints the tables of docs/results/alignment_study.md. Real distributions: the three trained models of ../shared/data on
TinyStories, all pairs; and a 4-gram model trained with the real 32k and 152k tokenizers on real dialogues.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np

from benchmarks.align import contexts, wrong_contexts
from benchmarks.align_data import (
    LARGE,
    SMALL,
    conversations,
    renderers,
    require_data,
    scored,
    usable,
    whole_turns,
)
from benchmarks.align_models import MODELS, captured, cut
from fusionchat.align.baselines.dtw import attach_by_dtw
from fusionchat.align.positions import attach
from fusionchat.align.projection.project import count_partners, project
from fusionchat.align.settings import AlignSettings, BytePrefix, Exact, MinEdit, Statistics, VocabularyMethod
from fusionchat.align.summary import AlignSummary, summarize
from fusionchat.align.vocabulary import VocabularyMap, build_map
from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.render import Renderer
from fusionchat.corpus.rendered_part import join
from fusionchat.represent.topk import Scored, TopK
from fusionchat.tokens.spans import Untiled

METHODS: tuple[tuple[VocabularyMethod, bool], ...] = (
    (BytePrefix(), True),
    (BytePrefix(), False),
    (Exact(), False),
    (MinEdit(), False),
    (Statistics(), True),
)


def called(method: VocabularyMethod, counted: bool) -> str:
    """A method's name in the tables."""
    return "byte_prefix, longest" if isinstance(method, BytePrefix) and not counted else method.method


class Pair(NamedTuple):
    """A pivot and a source with their distributions on the same text."""

    name: str
    pivot: Scored
    source: Scored
    mine: Renderer
    theirs: Renderer

    def map(self, method: VocabularyMethod, *, counted: bool = True) -> VocabularyMap:
        """The map by a method; partners are counted on the text itself, as the stage does (``counted``)."""
        tables = self.mine.table, self.theirs.table
        counts = (
            count_partners(self.pivot.tokens, self.source.tokens, *tables, AlignSettings())
            if counted
            else None
        )
        return build_map(tables[1], tables[0], method, counts)

    def summary(self, mapping: VocabularyMap, settings: AlignSettings) -> AlignSummary:
        """What the settings keep."""
        result = project(
            self.pivot.tokens, self.source, mapping, (self.mine.table, self.theirs.table), settings
        )
        return summarize(self.pivot, self.source, result, whole_turns(self.pivot.tokens))


def table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a Markdown table."""
    print(f"\n{title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def maps_and_rules(pairs: list[Pair]) -> None:
    """All maps, with the mid-token rule and the observed path on and off."""
    rows = []
    for pair in pairs:
        for method, counted in METHODS:
            started = time.perf_counter()
            mapping = pair.map(method, counted=counted)
            built = time.perf_counter() - started
            both = {
                (mid, path): pair.summary(mapping, AlignSettings(mid_token=mid, observed_path=path))
                for mid in (True, False)
                for path in (True, False)
            }
            on, off = both[True, True], both[True, False]
            rows.append(
                (
                    pair.name,
                    called(method, counted),
                    f"{both[False, True].figures()['aligned_byte_share']:.3f}",
                    f"{on.figures()['aligned_byte_share']:.3f}",
                    f"{off.figures()['kept_mass']:.3f}",
                    f"{on.figures()['kept_mass']:.3f}",
                    f"{both[False, False].retention:.3f}",
                    f"{off.retention:.3f}",
                    f"{on.retention:.3f}",
                    f"{off.text_retention:.3f}",
                    f"{on.text_retention:.3f}",
                    f"{built:.2f}",
                )
            )
    head = (
        "pivot ← source",
        "map",
        "aligned bytes, mid-token off",
        "on",
        "mass kept, path off",
        "on",
        "retention, both off",
        "path off",
        "both on",
        "text retention, path off",
        "both on",
        "map, s",
    )
    table("Maps and rules", head, rows)


def known_shares(pair: Pair, full: Scored, most: int = 4000) -> np.ndarray:
    """For rows inside source tokens: (M, true M, t), M of the stored tokens, t the tail's even share."""
    words, source = pair.theirs.table, pair.source
    labels = source.tokens.labels
    met = attach(pair.pivot.tokens, source.tokens)
    rows = np.flatnonzero((met.row >= 0) & (met.residual > 0) & (pair.pivot.tokens.begin >= 0))
    spelled = [words.token(t) if words.in_text[t] else b"" for t in range(words.size)]
    total = int(words.in_text.sum())
    out = []
    for i in np.random.default_rng(0).permutation(rows)[:most]:
        j = met.row[i]
        seen = spelled[labels[j]][: met.residual[i]]
        begins = np.array([bool(s) and s.startswith(seen) for s in spelled])
        true = np.exp(full.topk.logprobs[j].astype(np.float64))[begins[full.topk.ids[j]]].sum()
        stored = np.zeros(words.size)
        stored[source.topk.ids[j]] = np.exp(source.topk.logprobs[j].astype(np.float64))
        stored[labels[j]] = np.exp(np.float64(source.label_logprob[j]))
        known = np.zeros(words.size, bool)
        known[source.topk.ids[j]] = known[labels[j]] = True
        tail = max(1.0 - stored.sum(), 0.0)
        others = total - (known & words.in_text).sum()
        share = tail * (begins & ~known).sum() / others if others else 0.0
        out.append((stored[begins].sum(), true, share))
    return np.array(out)


def first_tokens(pairs: list[Pair]) -> None:
    """Where a source token has no equal: does the map give the token the pivot's own tokenizer would write first?"""
    rows = []
    for pair in pairs:
        source, pivot = pair.theirs.table, pair.mine.table
        used = np.bincount(pair.source.tokens.labels, minlength=source.size)
        lonely = np.flatnonzero((build_map(source, pivot, Exact()).target < 0) & source.in_text & (used > 0))
        written = {int(t): written_first(pair.mine, source.token(t)) for t in lonely}
        known = [t for t, first in written.items() if first is not None]
        weight = used[known].astype(np.float64)
        for method, counted in METHODS:
            if isinstance(method, Exact):
                continue
            target = pair.map(method, counted=counted).target[known]
            right = np.array([written[t] for t in known]) == target
            rows.append(
                (
                    pair.name,
                    called(method, counted),
                    f"{len(known):,}",
                    f"{right.mean():.3f}",
                    f"{(right * weight).sum() / weight.sum():.3f}",
                )
            )
    head = ("pivot ← source", "map", "tokens without an equal", "share right", "share right, by use")
    table("The token that the pivot's tokenizer writes first", head, rows)


def written_first(side: Renderer, spelled: bytes) -> int | None:
    """The first token a tokenizer writes for some bytes after a new line, None where they are no text of their own."""
    try:
        text = spelled.decode()
    except UnicodeDecodeError:
        return None
    if text[0] in "\r\n":
        return None
    raw = f"a\n{text}"
    spans = side.table.tile(side.encoder.ids(raw), raw.encode())
    if isinstance(spans, Untiled):
        return None
    at = np.flatnonzero(spans.begin == 2)
    return int(side.encoder.ids(raw)[at[0]]) if at.size else None


def tail_shares(pairs: list[tuple[Pair, Scored]]) -> None:
    """The conditioned distribution against the true one, with the tail left out and with its share."""
    rows = []
    for pair, full in pairs:
        found = known_shares(pair, full)
        if not len(found):
            continue
        mass, true, share = np.maximum(found.T, 1e-12)
        actual, told = np.minimum(mass / true, 1.0), mass / (mass + share)
        bands = [
            ("all", 0.0, 2.0),
            ("M < 0.001", 0, 1e-3),
            ("0.001-0.01", 1e-3, 1e-2),
            ("0.01-0.05", 1e-2, 0.05),
        ]
        for name, low, high in [*bands, ("0.05-0.2", 0.05, 0.2), ("> 0.2", 0.2, 2.0)]:
            some = (mass >= low) & (mass < high)
            if some.any():
                rows.append(
                    (
                        pair.name,
                        name,
                        f"{some.mean():.3f}",
                        f"{(1 - actual[some]).mean():.3f}",
                        f"{np.abs(told - actual)[some].mean():.3f}",
                        f"{np.log2(true / mass)[some].mean():.2f}",
                        f"{np.log2(true / (mass + share))[some].mean():.2f}",
                    )
                )
    head = (
        "pivot ← source",
        "stored mass M",
        "share of rows",
        "distance, tail left out",
        "with its share",
        "bits too likely",
        "with its share",
    )
    table("Rows inside source tokens against the full distributions, k = 10", head, rows)


def least_known(pairs: list[Pair]) -> None:
    """Sweep of ``min_mass``."""
    rows = []
    for pair in pairs:
        mapping = pair.map(BytePrefix())
        for least in (0.0, 0.01, 0.05, 0.2, 0.5, 0.8):
            total = pair.summary(mapping, AlignSettings(min_mass=least))
            figures = total.figures()
            rows.append(
                (
                    pair.name,
                    f"{least}",
                    f"{figures['aligned_byte_share']:.3f}",
                    f"{figures['kept_mass']:.3f}",
                    f"{total.text_retention:.3f}",
                )
            )
    table(
        "Least known share (`min_mass`)",
        ("pivot ← source", "min_mass", "aligned bytes", "mass kept", "text retention"),
        rows,
    )


def slots(pairs: list[tuple[Pair, Scored]]) -> None:
    """How far k slots are from the whole distribution, after projection: total variation, tails as one event."""
    rows = []
    for pair, full in pairs:
        tables, mapping = (pair.mine.table, pair.theirs.table), pair.map(BytePrefix())
        whole = project(pair.pivot.tokens, full, mapping, tables, AlignSettings(k=len(tables[0].in_text)))
        for k in (4, 10, 20, 50):
            some = project(pair.pivot.tokens, cut(full, k), mapping, tables, AlignSettings())
            both = whole.topk.present & some.topk.present
            distance = total_variation(whole.topk, some.topk, len(tables[0].in_text))[both].mean()
            rows.append(
                (pair.name, str(k), f"{both.mean():.3f}", f"{distance:.3f}", f"{some.kept[both].mean():.3f}")
            )
    table(
        "Slots",
        ("pivot ← source", "k", "rows aligned", "distance to the whole projection", "mass kept"),
        rows,
    )


def total_variation(whole: TopK, some: TopK, size: int) -> np.ndarray:
    """Total variation per row between a whole distribution and one with a tail, on the events the latter tells apart."""
    p, q = (np.zeros((whole.rows, size)) for _ in range(2))
    for dense, topk in ((p, whole), (q, some)):
        np.put_along_axis(
            dense, topk.ids[:, ::-1].astype(np.int64), np.exp(topk.logprobs[:, ::-1].astype(np.float64)), 1
        )
    told = q > 0
    inside = np.abs(np.where(told, p - q, 0)).sum(axis=1)
    return 0.5 * (inside + np.abs(np.where(told, 0, p).sum(axis=1) - np.exp(some.tail.astype(np.float64))))


EMOJI = ["Nice 👩‍👩‍👧‍👦 trip 🏳️‍🌈🇩🇪 to the 🏖️! See you 😀😀", "1️⃣ First 🥇 2️⃣ second 🥈 👍🏽👍🏿 done ✅"]


def positions(sides: dict[str, Renderer], most: int) -> None:
    """Rows that dynamic time warping attaches to a wrong context."""
    texts = {name: conversations(name, most) for name in ("en", "code", "zh", "math", "multi-turn")}
    texts["emoji"] = [
        Conversation(f"e{i}", (Message("user", "Hi"), Message("assistant", t))) for i, t in enumerate(EMOJI)
    ]
    rows = []
    for pivot, source in ((SMALL, LARGE), (LARGE, SMALL)):
        for name, items in texts.items():
            pair = [sides[pivot], sides[source]]
            good = list(usable(items, pair))
            spans = [join([s.render(c) for c in good]).supervised for s in pair]  # type: ignore[misc]
            read = [contexts(s, r) for s, r in zip(spans, pair, strict=True)]
            warped = attach_by_dtw(*spans, *(r.table for r in pair)).row
            boundary = attach(*spans)
            exact = (boundary.residual == 0) & (boundary.row >= 0)
            missed = sum(read[1][j] != read[0][i] for i, j in enumerate(warped) if exact[i])
            rows.append(
                (
                    f"{pivot} ← {source}",
                    name,
                    f"{spans[0].rows:,}",
                    f"{wrong_contexts(*spans, *read, sides[source])}",
                    f"{missed / max(exact.sum(), 1):.4f}",
                    f"{np.mean([read[1][j] != read[0][i] for i, j in enumerate(warped)]):.4f}",
                )
            )
    head = (
        "pivot ← source",
        "text",
        "rows",
        "wrong by bytes",
        "wrong by DTW where an exact row exists",
        "wrong by DTW, all rows",
    )
    table("Contexts", head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="The study behind the defaults of align.")
    parser.add_argument("--quick", action="store_true", help="small samples")
    quick = parser.parse_args().quick
    require_data()
    small = captured(60 if quick else 250)
    neural = [
        (
            Pair(
                f"{MODELS[a]} ← {MODELS[b]}",
                small[a].scored,
                cut(small[b].scored, 10),
                small[a].renderer,
                small[b].renderer,
            ),
            small[b].scored,
        )
        for a in MODELS
        for b in MODELS
        if a != b
    ]
    sides = renderers([SMALL, LARGE])
    large = []
    for text in ("en", "code", "zh"):
        items = list(usable(conversations(text, 100 if quick else 1000), list(sides.values())))
        tops = {name: scored(side, items) for name, side in sides.items()}
        for label, a, b in (("32k ← 152k", SMALL, LARGE), ("152k ← 32k", LARGE, SMALL)):
            large.append(Pair(f"{label}, {text}", tops[a], tops[b], sides[a], sides[b]))
    maps_and_rules([pair for pair, _ in neural] + (large[:2] if quick else large))
    first_tokens([pair for pair in large if pair.mine.name == SMALL][: 1 if quick else 3])
    tail_shares(neural)
    least_known([pair for pair, _ in neural] + large)
    slots(neural)
    positions(sides, 5 if quick else 40)


if __name__ == "__main__":
    main()
