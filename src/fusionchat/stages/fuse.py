"""Stage `fuse`: one set of fused distributions for each target.

A target has one source, or (``all``) every source.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat import console
from fusionchat.artifacts import Json
from fusionchat.console import progress
from fusionchat.corpus.parts import count_words
from fusionchat.fuse.fuse import Fused, fuse
from fusionchat.recipe.schema import AnyFuse
from fusionchat.represent.events import Events, events_of, message_bytes
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter
from fusionchat.represent.topk import Scored
from fusionchat.run.estimate import shards
from fusionchat.run.job import Context, Cost, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.settings import Grown
from fusionchat.stages.answer import own_answers
from fusionchat.stages.corpus import files_of, read_part, read_tokens
from fusionchat.stages.names import Trained, aligned, captured, corpus_of, fused
from fusionchat.stages.variants import targets

VERSION = 4  # raised when the same settings and inputs give another output
NAMED = 5
"""The most domains or ids that one message names."""


class Settings(Grown):
    """Everything that changes fused distributions except the captures and their alignments.

    Attributes:
        sources: The models that are fused with the pivot, in order; of equal ones the first wins.
        fuse: The rule.
        of: The target whose own answers were captured; None for the corpus alone.
    """

    later: ClassVar[tuple[str, ...]] = ("of",)
    sources: tuple[str, ...]
    fuse: AnyFuse
    of: Trained | None = None


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan one job per target."""
    for target in targets(run.recipe):
        plan_fusion(run, target)


def plan_fusion(run: Run, target: str, of: Trained | None = None) -> None:
    """Plan the fusion for a target, over the corpus or for a later round of it."""
    corpus, sources = corpus_of(of), targets(run.recipe)[target]
    captures = tuple(captured(name, of) for name in ("pivot", *sources))
    carried = tuple(aligned(name, of) for name in sources)
    run.add(
        "fuse",
        fused(target, of).removeprefix("fuse/"),
        Settings(sources=sources, fuse=run.recipe.fuse, of=of),
        needs=(corpus, *captures, *carried, *([] if of is None else [fused(target)])),
        reads={corpus: files_of("train", "pivot", *sources)},
        cost=Cost(shards(run.recipe), 0.0),
    )


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """Nothing, since an unfinished fusion starts over."""
    return ""


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Fuse shard by shard; count the models that conversations got, and the text that was compared."""
    sources = settings.sources
    names = ("pivot", *sources)
    corpus, of = inputs.folder(corpus_of(settings.of)), settings.of
    conversations = read_part(corpus, "train")
    tokens = [read_tokens(corpus, "train", name) for name in names]
    weight_rows: dict[str, np.ndarray] = {}
    fallback, rows, scored, to_pivot, seen = 0, 0, Coverage(), Counter[str](), set[str]()
    own = [
        (DistributionStore(inputs.folder(captured(name, of))).require(side.offsets), side)
        for name, side in zip(names, tokens, strict=True)
    ]
    carried = [
        (DistributionStore(inputs.folder(aligned(name, of))).require(tokens[0].offsets), tokens[0])
        for name in sources
    ]
    first = own[0][0]
    writer = StoreWriter(out, tokens[0].offsets, first.ranges, first.encoding, inputs.job.fingerprint)
    with progress(f"fuse {'+'.join(sources)}", len(writer.ranges), "shards") as advance:
        for index, shard in enumerate(writer.ranges):
            captures, others = (
                [store.scored(side, shard.start, shard.stop) for store, side in group]
                for group in (own, carried)
            )
            pivot = captures[0]
            members = conversations[shard.start : shard.stop]
            bytes_CT = message_bytes([c.message_bytes for c in members])
            domains = [c.domain for c in members]
            labels = [getattr(c, settings.fuse.column) for c in members]
            found = fuse(
                [pivot, *others],
                captures,
                settings.fuse,
                bytes_CT,
                names=names,
                labels=labels,
                given=None if of is None else given_weights(inputs, of, corpus, shard, len(names)),
            )
            writer.write(
                index,
                found.topk,
                {"weights": found.weights.T.astype(np.float16), "fallback": found.fallback},
            )
            _count(weight_rows, found, pivot.tokens.offsets, domains)
            to_pivot.update(found.to_pivot)
            seen.update(labels)
            scored += coverage(captures, found, bytes_CT)
            fallback, rows = fallback + int(found.fallback.sum()), rows + pivot.tokens.rows
            advance(1)
    shares: dict[str, Json] = {
        domain: {name: round(float(share), 5) for name, share in zip(names, total / total.sum(), strict=True)}
        for domain, total in sorted(weight_rows.items())
    }
    _say(settings, seen, to_pivot, len(conversations))
    total_bytes = sum(c.supervised_bytes for c in conversations)
    return {
        "rows": rows,
        "fallback_rows": fallback,
        "shares": shares,
        "bytes": total_bytes,
        "unscored_bytes": total_bytes - scored.bytes,
        "unscored_ends": scored.all_ends - scored.ends,
        "to_pivot": dict(sorted(to_pivot.items())),
    }


def given_weights(
    inputs: Inputs, of: Trained, corpus: Path, shard: range, models: int
) -> NDArray[np.float32]:
    """The weights of the models in the conversations with the target's own answers: [M, C], else NaN.

    They are the mean weights of the models in the same conversation with the corpus's answer. Scores of a
    target's own answer would show which model is most like the target, which is the pivot that it was made
    from.
    """
    store, given = (
        DistributionStore(inputs.folder(fused(of.base))),
        np.full((models, len(shard)), np.nan, np.float32),
    )
    for index in own_answers(corpus) & set(shard):
        weights = store.column("weights", index, index + 1).astype(np.float32)
        given[:, index - shard.start] = weights.mean(axis=0)
    return given / given.sum(axis=0)


def _say(settings: Settings, seen: Collection[str], to_pivot: Mapping[str, int], total: int) -> None:
    """Say which conversations the rule gave to the pivot for lack of another model.

    Say also which of the rule's domains or ids no conversation has.
    """
    label = f"fuse {'+'.join(settings.sources)}"
    unseen = [repr(one) for one in settings.fuse.labels if one not in seen]
    if unseen:
        more = f" and {len(unseen) - NAMED} more" if len(unseen) > NAMED else ""
        said = f"the {settings.fuse.column} {', '.join(unseen[:NAMED])}{more} of `fuse`"
        console.warn(f"{label}: no conversation of the train part has {said}")
    if to_pivot:
        count = f"{sum(to_pivot.values())} of {total}"
        console.say(f"{label}: {count} conversations take the pivot's distributions: {count_words(to_pivot)}")


class Coverage(NamedTuple):
    """Bytes and ends of turns over which all models were compared, and ends that at least one scores."""

    bytes: int = 0
    ends: int = 0
    all_ends: int = 0

    def __add__(self, other: "Coverage") -> "Coverage":  # type: ignore[override]
        return Coverage(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def coverage(captures: Sequence[Scored], fused: Fused, bytes_CT: np.ndarray) -> Coverage:
    """The bytes and ends of turns over which the models of a shard were compared."""
    models = [events_of(scored.tokens, bytes_CT) for scored in captures]
    shared = Events(*(part[fused.shared] for part in models[0]))
    return Coverage(int(shared.bytes.sum()), shared.ends, max(model.ends for model in models))


def _count(
    total: dict[str, np.ndarray], fused: Fused, offsets: NDArray[np.int64], domains: Sequence[str]
) -> None:
    """Add each conversation's mean weight of each model to its domain."""
    sizes = np.maximum(np.diff(offsets), 1)
    sums = np.add.reduceat(fused.weights.astype(np.float64), offsets[:-1], axis=1)
    for column, domain in zip((sums / sizes).T, domains, strict=True):
        total[domain] = total.get(domain, np.zeros(len(column))) + column
