"""The figures of a capture: how well the model predicts the text, how peaked it is, and the speed.

What only the capture itself can measure is saved beside each shard, before the shard is written, as
``shard-NNNNN.notes.json``, so it exists whoever made the shard and whoever finishes the job.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fusionchat.artifacts import read_json, write_json
from fusionchat.corpus.conversation import Conversation
from fusionchat.corpus.rendered_part import StoredPart
from fusionchat.errors import ArtifactError
from fusionchat.represent.bits import NATS_PER_BIT, bits_per_byte
from fusionchat.represent.events import add_up, events_of, message_bytes
from fusionchat.represent.notes import Notes
from fusionchat.represent.store.layout import SHARDS, shard_path
from fusionchat.represent.store.read import DistributionStore
from fusionchat.run.job import Summary
from fusionchat.settings import Frozen

NOTES, SHARD = ".notes.json", ".safetensors"
UNNAMED = "(none)"
"""The domain of conversations that have none."""


class ShardNotes(Frozen):
    """`Notes` as they are saved, in the order of the rows."""

    batch_tokens: int
    halved: int
    entropy: tuple[float, ...]
    needed: tuple[int, ...]


class Speed(NamedTuple):
    """What this process captured, and the seconds that it took."""

    tokens: int = 0
    seconds: float = 0.0


def notes_path(out: Path, index: int) -> Path:
    """The file of a shard's notes."""
    return shard_path(out, index).with_suffix(NOTES)


def keep_notes(out: Path, index: int, notes: Notes) -> None:
    """Write the notes of a shard."""
    held = ShardNotes(
        batch_tokens=notes.batch_tokens,
        halved=notes.halved,
        entropy=tuple(notes.entropy[row] for row in sorted(notes.entropy)),
        needed=tuple(notes.needed[row] for row in sorted(notes.needed)),
    )
    write_json(notes_path(out, index), held.model_dump(mode="json"))


def drop_halves(out: Path) -> None:
    """Remove notes without their shard, and shards whose notes are missing or damaged.

    Notes without a shard may belong to another job.
    """
    for path in out.glob(f"shard-*{NOTES}"):
        if not path.with_name(path.name.removesuffix(NOTES) + SHARD).is_file():
            path.unlink(missing_ok=True)
    for path in out.glob(SHARDS):
        if _read(path.with_suffix(NOTES)) is None:
            path.unlink(missing_ok=True)


def read_notes(out: Path, index: int) -> ShardNotes | None:
    """The notes of a shard; None if they are missing or damaged."""
    return _read(notes_path(out, index))


def _read(path: Path) -> ShardNotes | None:
    with suppress(ArtifactError, ValueError):  # a missing file is an ArtifactError, too
        return ShardNotes.model_validate(read_json(path))
    return None


def summarize(
    out: Path, rendered: StoredPart, conversations: Sequence[Conversation], speed: Speed
) -> Summary:
    """The figures of a finished capture; None for what was not measured.

    ``entropy`` (bits), ``k99_median`` and ``k99_p95`` are of ``sampled_rows`` rows; the others of all rows.
    """
    store = DistributionStore(out).require(rendered.offsets)
    nats, sizes = defaultdict[str, float](float), Counter[str]()
    tokens, kept = 0, 0.0
    for shard in store.ranges:
        members = conversations[shard.start : shard.stop]
        scored = store.scored(rendered, shard.start, shard.stop)
        events = events_of(scored.tokens, message_bytes([c.message_bytes for c in members]))
        domains = [c.domain or UNNAMED for c in members]
        own = add_up(-scored.label_logprob, events.conversation, len(members))
        bytes_C = add_up(events.bytes, events.conversation, len(members))
        for domain, cost, size in zip(domains, own.tolist(), bytes_C.tolist(), strict=True):
            nats[domain] += cost
            sizes[domain] += int(size)
        tokens += scored.tokens.rows
        kept += float(np.exp(scored.topk.logprobs.astype(np.float64)).sum())
    size = sum(sizes.values())
    return {
        "supervised_tokens": tokens,
        "bits_per_byte": _bits(sum(nats.values()), size),
        "bits_per_byte_by_domain": {name: _bits(nats[name], sizes[name]) for name in sorted(sizes)},
        "unscored_bytes": sum(c.supervised_bytes for c in conversations) - size,
        "mass_kept": round(kept / tokens, 5) if tokens else None,
        **_noted([read_notes(out, index) for index in range(len(store.ranges))]),
        "tokens_per_second": round(speed.tokens / speed.seconds) if speed.tokens else None,
    }


def _bits(nats: float, size: int) -> float:
    return round(bits_per_byte(nats / NATS_PER_BIT, size), 5)


def _noted(shards: Sequence[ShardNotes | None]) -> Summary:
    """The figures from the notes of all shards."""
    found = [notes for notes in shards if notes is not None]
    entropy = [bits for notes in found for bits in notes.entropy]
    needed = [count for notes in found for count in notes.needed]
    budgets = {notes.batch_tokens for notes in found} - {0}
    return {
        "sampled_rows": len(entropy),
        "entropy": round(float(np.mean(entropy)), 4) if entropy else None,
        "k99_median": int(np.median(needed)) if needed else None,
        "k99_p95": int(np.percentile(needed, 95)) if needed else None,
        "batch_tokens": max(budgets) if budgets else None,
        "out_of_memory": sum(notes.halved > 0 for notes in found),
    }
