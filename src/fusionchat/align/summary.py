# N pivot rows
"""What an alignment kept, as sums over shards: rows, mass and retention. PURE.

Retention asks how many bits the text costs under the source, and how many under what became of the source's
distributions. Both are counted on the same bytes, those of the rows that were aligned:

- ``path_bits``: the source's own bits for the bytes of each pivot label, by the chain rule over its tokens;
- ``label_bits``: the bits of the pivot's label under the aligned distribution, where a row never counts as
  cheaper than under the source (a map may pile the mass of other tokens on the label, which is no gain);
- ``map_bits``: the same, without the observed path.

``retention = path_bits / label_bits`` is 1 by construction where the observed path is on, and so it proves
the bookkeeping, not the map. ``map_retention = path_bits / map_bits`` is the map's own merit. Neither covers
the rows that were not aligned: ``aligned_bytes`` shows their share, and ``text_retention`` compares the whole
text that both models score: the source's bits against those of what fusion will use, the pivot's own
distribution in place of unaligned rows.
"""

from dataclasses import asdict, dataclass, fields

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from fusionchat.align.projection.arrays import EXACT, INSIDE, UNALIGNED
from fusionchat.align.projection.project import Aligned
from fusionchat.represent.bits import NATS_PER_BIT, bits_per_byte
from fusionchat.represent.events import common, events_of
from fusionchat.represent.topk import Scored


@dataclass(frozen=True)
class AlignSummary:
    """Sums over the rows of an alignment; two of them can be added.

    Attributes:
        rows, exact, inside, unaligned: Rows.
        kept: Sum over the aligned rows of the mass in slots.
        bytes, aligned_bytes: UTF-8 bytes of the pivot's rows, and of the aligned ones.
        common_bytes: Bytes in regions that both models score (`fusionchat.represent.events`).
        source_bits: Bits of these regions under the source.
        path_bits, label_bits, map_bits: See the module.
        text_bits: Bits of these regions under the aligned distributions, unaligned rows under the pivot's
            own.
        pivot_bits: Bits of these regions under the pivot.
    """

    rows: int = 0
    exact: int = 0
    inside: int = 0
    unaligned: int = 0
    kept: float = 0.0
    bytes: int = 0
    aligned_bytes: int = 0
    common_bytes: int = 0
    source_bits: float = 0.0
    path_bits: float = 0.0
    label_bits: float = 0.0
    map_bits: float = 0.0
    text_bits: float = 0.0
    pivot_bits: float = 0.0

    def __add__(self, other: "AlignSummary") -> "AlignSummary":
        return AlignSummary(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def retention(self) -> float:
        """Source bits over aligned bits on the aligned rows' bytes."""
        return _ratio(self.path_bits, self.label_bits)

    @property
    def map_retention(self) -> float:
        """The same without the observed path: what the map alone keeps."""
        return _ratio(self.path_bits, self.map_bits)

    @property
    def text_retention(self) -> float:
        """Source bits over the bits of what fusion will use, on the whole text.

        Above 1 where the pivot is better.
        """
        return _ratio(self.source_bits, self.text_bits)

    def figures(self) -> dict[str, float]:
        """Sums and ratios by name, for manifests and reports."""
        aligned = max(self.rows - self.unaligned, 1)
        return {
            **{name: float(value) for name, value in asdict(self).items()},
            "exact_share": self.exact / max(self.rows, 1),
            "inside_share": self.inside / max(self.rows, 1),
            "unaligned_share": self.unaligned / max(self.rows, 1),
            "aligned_byte_share": self.aligned_bytes / max(self.bytes, 1),
            "kept_mass": self.kept / aligned,
            "source_bits_per_byte": bits_per_byte(self.source_bits, self.common_bytes),
            "retention": self.retention,
            "map_retention": self.map_retention,
            "text_retention": self.text_retention,
        }


def summarize(
    pivot: Scored, source: Scored, aligned: Aligned, bytes_CT: Int[np.ndarray, "C T"]
) -> AlignSummary:
    """The sums of one shard: both captures, their alignment, and the bytes of messages."""
    kind, label = aligned.kind, aligned.label_logprob.astype(np.float64)
    path, plain = aligned.path_logprob.astype(np.float64), aligned.map_logprob.astype(np.float64)
    scored = (kind != UNALIGNED) & ~np.isnan(path)
    capped = np.where(np.isnan(path), label, np.minimum(label, path))
    events = events_of(pivot.tokens, bytes_CT)
    mine, theirs = common([events, events_of(source.tokens, bytes_CT)])
    own = pivot.label_logprob.astype(np.float64)
    return AlignSummary(
        rows=pivot.tokens.rows,
        exact=int((kind == EXACT).sum()),
        inside=int((kind == INSIDE).sum()),
        unaligned=int((kind == UNALIGNED).sum()),
        kept=float(aligned.kept[kind != UNALIGNED].sum(dtype=np.float64)),
        bytes=int(events.bytes.sum()),
        aligned_bytes=int(events.bytes[kind != UNALIGNED].sum()),
        common_bytes=int(events.bytes[mine].sum()),
        source_bits=_bits(source.label_logprob[theirs].astype(np.float64)),
        path_bits=_bits(path[scored]),
        label_bits=_bits(capped[scored]),
        map_bits=_bits(np.minimum(plain, path)[scored]),
        text_bits=_bits(np.where(kind != UNALIGNED, capped, own)[mine]),
        pivot_bits=_bits(own[mine]),
    )


def _bits(logprobs: NDArray[np.float64]) -> float:
    return float(-np.nansum(logprobs)) / NATS_PER_BIT


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 1.0
