"""The probe of a capture and its result, saved beside the shards as ``probe.json``.

The process that will finish a capture probes it, before the first shard; helpers do not.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fusionchat.artifacts import read_json, write_json
from fusionchat.corpus.conversation import Conversation
from fusionchat.corpus.rendered_part import RenderedPart, StoredPart, join
from fusionchat.errors import ArtifactError
from fusionchat.represent.bits import NATS_PER_BIT, bits_per_byte
from fusionchat.represent.capture.base import Asked, Capture, Capturer
from fusionchat.represent.events import events_of, message_bytes
from fusionchat.represent.plain import Plain, score_plainly, why_not
from fusionchat.represent.probe import Probe, bound_of, candidates, choose, compare, require_close
from fusionchat.run.estimate import parameters
from fusionchat.run.job import Summary

PROBE = "probe.json"


class Probing(NamedTuple):
    """Conversations to be scored by a backend, and their scores by transformers.

    Attributes:
        rendered: The renderings of the conversations.
        members: The conversations in the corpus.
        plain: Their scores by transformers, or why it cannot score them.
    """

    rendered: RenderedPart
    members: list[Conversation]
    plain: Plain | str


def prepare(
    asked: Asked, capturer: Capturer, rendered: StoredPart, conversations: Sequence[Conversation]
) -> Probing:
    """Score the probe by transformers.

    This comes before the backend is opened, so that the memory is free again for it.
    """
    chosen = choose(rendered.lengths)
    part, members = join([rendered[i] for i in chosen]), [conversations[i] for i in chosen]
    plain: Plain | str = why_not(
        asked.ref, parameters=parameters(asked.ref), downloads=capturer.reads_weights
    ) or score_plainly(
        asked.ref, part, candidates=candidates(asked.k), vocabulary=asked.vocabulary, device=asked.device
    )
    return Probing(part, members, plain)


def probe(probing: Probing, capture: Capture, capturer: Capturer, asked: Asked, out: Path) -> None:
    """Score the probe by the backend and save the result; raises ModelError if it is too far off."""
    names = [c.id for c in probing.members]
    scored = capture(probing.rendered, names=names, advance=lambda _: None)
    events = events_of(scored.tokens, message_bytes([c.message_bytes for c in probing.members]))
    bits = -float(scored.label_logprob.sum(dtype=np.float64)) / NATS_PER_BIT
    precision = capturer.precision(asked.dtype)
    label, kept = compare(probing.plain, scored) if isinstance(probing.plain, Plain) else (None, None)
    found = Probe(
        conversations=len(names),
        tokens=scored.tokens.rows,
        bits_per_byte=round(bits_per_byte(bits, int(events.bytes.sum())), 5),
        bound=bound_of(precision, capturer.probe_bound),
        label=label,
        kept=kept,
        unchecked="" if isinstance(probing.plain, Plain) else probing.plain,
    )
    require_close(found, backend=capturer.backend, place=asked.place)
    by: Summary = {"backend": capturer.backend, "version": capturer.version, "dtype": precision}
    write_json(out / PROBE, by | {"probe": found.model_dump(mode="json")})


def probed(out: Path) -> bool:
    """Whether a capture has been probed, and its result can be read."""
    with suppress(ArtifactError):
        return bool(read_probe(out))
    return False


def read_probe(out: Path) -> Summary:
    """What made a capture, and its probe, for the job's summary."""
    return dict(read_json(out / PROBE))
