# N supervised rows of a model, C conversations
"""`RowBits`: a model's bits by token; several models over the events that all of them score."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from fusionchat.corpus.conversation import Conversation
from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import join
from fusionchat.errors import ArtifactError
from fusionchat.represent.events import Events, add_up, common, events_of, message_bytes
from fusionchat.units import counted

EVENTS = "events.safetensors"


class RowBits(NamedTuple):
    """The rows from which a model's likelihood was measured.

    Attributes:
        events: The events that each row scores.
        bits_N: float64 [N], bits of each row.
        unscored: Supervised bytes for which the model has no row.
    """

    events: Events
    bits_N: NDArray[np.float64]
    unscored: int = 0

    def add_up(
        self, count: int, mask_N: Bool[np.ndarray, " N"] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Bits and UTF-8 bytes of each of ``count`` conversations, over the rows in the mask."""
        rows = slice(None) if mask_N is None else mask_N
        place = self.events.conversation[rows]
        bits_C = add_up(self.bits_N[rows], place, count)
        return bits_C, add_up(self.events.bytes[rows], place, count).astype(np.int64)


def rendered_events(rendered: Sequence[Rendered], conversations: Sequence[Conversation]) -> Events:
    """The events that the rows of renderings score."""
    return events_of(join(rendered).supervised, message_bytes([c.message_bytes for c in conversations]))


def events_file(events: Events, bits_N: Float[np.ndarray, " N"]) -> bytes:
    """The content of a file with the bits of every row and the events that it scores.

    With it, models can be compared over the events that all of them score.
    """
    return save(events._asdict() | {"bits": bits_N})


def read_events(folder: Path) -> tuple[Events, NDArray[np.float64]]:
    """The rows' events and bits of a finished evaluation; raises ArtifactError if they are damaged."""
    path = folder / EVENTS
    try:
        arrays = load_file(path)
        return Events(*(arrays[name] for name in Events._fields)), arrays["bits"]
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtifactError(
            f"This file is damaged: {error}", where=str(path), do="remove its folder and run again"
        ) from error


def over_common_events(models: Mapping[str, RowBits]) -> tuple[list[NDArray[np.bool_]] | None, str]:
    """The rows of each model in events that all models score, and a sentence on what is left out.

    Bits per byte of two models, and their paired gain, are meaningful only over the same events: otherwise a
    model without a first token or without ends of turns would be charged nothing for them. If all score the
    same events, or have none in common, nothing is left out, and the rows are None.

    Args:
        models: Models scored on the same conversations by the names of their rows.
    """
    found = list(models.values())
    masks = common([one.events for one in found])
    shared = Events(*(part[masks[0]] for part in found[0].events)) if found else None
    if shared is None or all(mask.all() for mask in masks):
        return None, ""
    if shared.bytes.sum() == 0:
        return (
            None,
            "The models have no text in common that all of them score: their bits per byte cannot be compared.",
        )
    total, ends = (
        found[0].unscored + int(found[0].events.bytes.sum()),
        max(one.events.ends for one in found),
    )
    missing = [
        f"{name} has no score of {amounts(one.unscored, ends - one.events.ends)}"
        for name, one in models.items()
        if one.unscored or one.events.ends < ends
    ]
    note = (
        f"Bits per byte are over what every model scores: {int(shared.bytes.sum()):,} of {total:,} bytes of the answers "
        f"and {shared.ends:,} of {ends:,} ends of turns. {'; '.join(missing) or 'Some turns are cut differently'}."
    )
    return list(masks), note


def amounts(size: int, ends: int) -> str:
    """Bytes and ends of turns in words; a number of 0 is left out."""
    parts = [counted(size, "byte")] if size else []
    parts += [counted(ends, "end of turn", "ends of turns")] if ends else []
    return " and ".join(parts) or "nothing"
