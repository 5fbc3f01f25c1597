# N supervised rows of a model, C conversations
"""`Scores`: a finished evaluation by conversation and token; several of them over the events that all score."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fusionchat.artifacts import atomic_path, read_json
from fusionchat.corpus.conversation import Conversation
from fusionchat.corpus.render import Rendered
from fusionchat.errors import ArtifactError
from fusionchat.represent.events import Events, add_up, common, events_of, message_bytes
from fusionchat.units import counted

SCORES = "scores.json"
EVENTS = "events.safetensors"


class Scores(NamedTuple):
    """A finished evaluation.

    Attributes:
        bits: float64 [C], bits of the scored events of each conversation.
        sizes: int64 [C], UTF-8 bytes among them.
        domains: Of each conversation.
        correct: Of each conversation; None where it was not asked.
        parameters: Of the model.
        unscored: Supervised bytes that the model has no row for.
        events: What each row scores.
        row_bits: float64 [N], bits of each row.
        unfinished: Answers that ended inside a thought.
    """

    bits: NDArray[np.float64]
    sizes: NDArray[np.int64]
    domains: list[str]
    correct: list[bool | None]
    parameters: int
    unscored: int
    events: Events
    row_bits: NDArray[np.float64]
    unfinished: int = 0


class _Rows(NamedTuple):
    turn: NDArray[np.int32]
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    offsets: NDArray[np.int64]


def rendered_events(rendered: Sequence[Rendered], conversations: Sequence[Conversation]) -> Events:
    """The events that the rows of renderings score."""
    offsets = np.cumsum([0, *(len(r.rows) for r in rendered)]).astype(np.int64)
    turn = np.concatenate([r.turn for r in rendered])
    begin, end = np.concatenate([r.begin for r in rendered]), np.concatenate([r.end for r in rendered])
    return events_of(
        _Rows(turn, begin, end, offsets), message_bytes([c.message_bytes for c in conversations])
    )


def write_events(folder: Path, events: Events, bits_N: Float[np.ndarray, " N"]) -> None:
    """Keep the bits of every row and what it scores, so that models can be compared over what all of them score."""
    with atomic_path(folder / EVENTS) as partial:
        save_file(events._asdict() | {"bits": bits_N}, partial)


def read_events(folder: Path) -> tuple[Events, NDArray[np.float64]]:
    """The rows' events and bits of a finished evaluation; raises ArtifactError where they are damaged."""
    path = folder / EVENTS
    try:
        arrays = load_file(path)
        return Events(*(arrays[name] for name in Events._fields)), arrays["bits"]
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtifactError(
            f"This file is damaged: {error}", where=str(path), do="remove its folder and run again"
        ) from error


def read_scores(folder: Path) -> Scores:
    """The scores of a finished evaluation, from its folder."""
    raw = read_json(folder / SCORES)
    return Scores(
        np.array(raw["bits"], dtype=np.float64),
        np.array(raw["bytes"], dtype=np.int64),
        [str(d) for d in raw["domain"]],  # type: ignore[union-attr]
        raw["correct"],  # type: ignore[arg-type]
        int(str(raw["parameters"])),
        int(str(raw["unscored_bytes"])),
        *read_events(folder),
        int(str(raw["unfinished_thoughts"])),
    )


def over_common_events(scores: Mapping[str, Scores]) -> tuple[list[Scores], str]:
    """The same evaluations over the events that all of them score, and a sentence on what was left out.

    Bits per byte of two models, and their paired gain, mean something only over the same events: a model without a
    first token or without ends of turns would else be charged nothing for them. Where all score the same events, or
    have none in common, the evaluations are returned as they are.

    Args:
        scores: Evaluations of the same conversations by the names of their rows.
    """
    found = list(scores.values())
    masks = common([one.events for one in found])
    shared = Events(*(part[masks[0]] for part in found[0].events)) if found else None
    if shared is None or all(mask.all() for mask in masks):
        return found, ""
    if shared.bytes.sum() == 0:
        return (
            found,
            "The models have no text in common that all of them score: their bits per byte do not compare.",
        )
    total, ends = found[0].unscored + int(found[0].sizes.sum()), max(one.events.ends for one in found)
    missing = [
        f"{name} has no score of {amounts(one.unscored, ends - one.events.ends)}"
        for name, one in scores.items()
        if one.unscored or one.events.ends < ends
    ]
    note = (
        f"Bits per byte are over what every model scores: {int(shared.bytes.sum()):,} of {total:,} bytes of the answers "
        f"and {shared.ends:,} of {ends:,} ends of turns. {'; '.join(missing) or 'Some turns are cut differently'}."
    )
    return [_over(one, mask) for one, mask in zip(found, masks, strict=True)], note


def amounts(size: int, ends: int) -> str:
    """Bytes and ends of turns in words; what there is none of is left out."""
    parts = [counted(size, "byte")] if size else []
    parts += [counted(ends, "end of turn", "ends of turns")] if ends else []
    return " and ".join(parts) or "nothing"


def _over(scores: Scores, mask: NDArray[np.bool_]) -> Scores:
    place, count = scores.events.conversation[mask], len(scores.bits)
    return scores._replace(
        bits=add_up(scores.row_bits[mask], place, count),
        sizes=add_up(scores.events.bytes[mask], place, count).astype(np.int64),
    )
