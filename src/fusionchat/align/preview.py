# N supervised tokens of the sample
"""What to expect of an alignment, from tokenizers, templates and a sample of the corpus.

No weights are loaded.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from fusionchat.align.cooccurrence import PairCounts
from fusionchat.align.positions import Attached
from fusionchat.align.projection.arrays import EXACT, INSIDE, UNALIGNED
from fusionchat.align.projection.project import count_partners, find_rows, row_kinds
from fusionchat.align.settings import AlignSettings, BytePrefix, Statistics
from fusionchat.align.vocabulary import Coverage, build_map, coverage
from fusionchat.corpus.agree import agree_all
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.cut import fit
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.corpus.rendered_part import join
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.events import text_begins


class Piece(NamedTuple):
    """A stretch of a rendered conversation: its text, and whether its tokens are supervised."""

    text: str
    supervised: bool


class PairPreview(NamedTuple):
    """What to expect of aligning one source to the pivot, measured on a sample.

    Attributes:
        name: The source's name.
        conversations: Conversations in the sample; ``cut``: how many of them had to be shortened.
        rejects: Conversations that cannot be used, with reasons.
        reasons: How many rejects have each reason, with the model that it concerns.
        notes: How many conversations each peculiarity of a model's template or tokenizer affects.
        pivot_tokens, source_tokens: Supervised tokens on either side.
        shared_boundaries: Share of the pivot's token boundaries inside turns that are the source's too.
        exact, inside, unaligned: Shares of the pivot's rows by where their contexts end.
        method: Of the vocabulary map; ``coverage``: how it covers the source's vocabulary and the sample's
            tokens.
    """

    name: str
    conversations: int
    cut: int
    rejects: list[Reject]
    reasons: dict[str, int]
    notes: dict[str, int]
    pivot_tokens: int
    source_tokens: int
    shared_boundaries: float
    exact: float
    inside: float
    unaligned: float
    method: str
    coverage: Coverage

    @property
    def accepted(self) -> float:
        """Share of the conversations that can be used."""
        return 1.0 - len(self.rejects) / max(self.conversations, 1)


def preview(
    pivot: Renderer,
    source: Renderer,
    conversations: Sequence[Conversation],
    settings: AlignSettings,
    *,
    max_tokens: int = 1 << 30,
) -> PairPreview:
    """Positions and coverage of one source on a sample of conversations.

    Args:
        pivot, source: The two renderers.
        conversations: The sample.
        settings: The recipe's alignment.
        max_tokens: Most tokens of a conversation on either side; longer ones are cut.
    """
    # 1. the sample as both sides see it
    sides: tuple[list[Rendered], list[Rendered]] = ([], [])
    rejects: list[Reject] = []
    notes: Counter[str] = Counter()
    cut = 0
    for conversation in conversations:
        fitted = fit(conversation, [(pivot, max_tokens), (source, max_tokens)])
        if isinstance(fitted, Reject):
            rejects.append(fitted)
            continue
        kept = fitted.conversation
        notes.update(map(str, fitted.notes))
        cut += any(not m.complete for m in kept.messages) or len(kept.messages) < len(conversation.messages)
        for side, renderer in zip(sides, (pivot, source), strict=True):
            rendered = renderer.render(kept)
            assert not isinstance(rendered, Reject), "what fits renders"
            side.append(rendered)
    # 2. which source row each pivot row would get
    mine, theirs = (join(side).supervised for side in sides)
    attached = find_rows(mine, theirs, pivot.table, source.table, settings)
    kinds = row_kinds(mine, theirs, attached, pivot.table, source.table)
    # 3. where each source token would go
    counts: PairCounts | None = None
    if isinstance(settings.vocabulary, BytePrefix | Statistics):
        counts = count_partners(mine, theirs, pivot.table, source.table, settings)
    mapping = build_map(source.table, pivot.table, settings.vocabulary, counts)
    shares = np.bincount(kinds, minlength=3) / max(len(kinds), 1)
    return PairPreview(
        name=source.name,
        conversations=len(conversations),
        cut=cut,
        rejects=rejects,
        reasons=dict(Counter(r.cause for r in rejects).most_common()),
        notes=dict(notes),
        pivot_tokens=mine.rows,
        source_tokens=theirs.rows,
        shared_boundaries=shared_boundaries(mine, theirs, attached),
        exact=float(shares[EXACT]),
        inside=float(shares[INSIDE]),
        unaligned=float(shares[UNALIGNED]),
        method=mapping.method,
        coverage=coverage(mapping, source.table, theirs.labels),
    )


def shared_boundaries(pivot: SupervisedTokens, source: SupervisedTokens, attached: Attached) -> float:
    """Share of the boundaries between the pivot's tokens, inside turns, where a source token begins too."""
    inner = text_begins(pivot) > 0
    row, residual = attached.row[inner], attached.residual[inner]
    if not source.rows or not len(row):
        return 0.0 if len(row) else 1.0
    return float(((row >= 0) & (residual == (text_begins(source) - source.begin)[row])).mean())


def show(renderer: Renderer, conversation: Conversation) -> list[Piece] | Reject:
    """A conversation as a model sees it, in stretches of supervised and other tokens.

    It ends after the last supervised token.
    """
    rendered = renderer.render(conversation)
    if isinstance(rendered, Reject):
        return rendered
    supervised = set(rendered.rows.tolist())
    marked = [(i in supervised, renderer.table.token(t)) for i, t in enumerate(rendered.input_ids.tolist())]
    return [
        Piece(b"".join(raw for _, raw in stretch).decode(errors="replace"), mark)
        for mark, stretch in groupby(marked, key=lambda pair: pair[0])
    ]


def show_all(
    renderers: Mapping[str, Renderer], conversation: Conversation
) -> dict[str, list[Piece] | Reject]:
    """A conversation as each model sees it, after the edits that apply to all models."""
    agreed = agree_all(conversation, list(renderers.values()))
    one = conversation if isinstance(agreed, Reject) else agreed.conversation
    return {name: show(renderer, one) for name, renderer in renderers.items()}
