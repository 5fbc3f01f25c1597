import numpy as np
import pytest
from hypothesis import given, settings

from fusionchat.align.projection.arrays import UNALIGNED
from fusionchat.align.projection.project import project
from fusionchat.align.settings import AlignSettings, BytePrefix
from fusionchat.align.summary import AlignSummary, summarize
from fusionchat.align.vocabulary import build_map
from fusionchat.represent.events import message_bytes
from tests.align.worlds import worlds


def summary(world, pivot=None, source=None, texts=None, **options):
    pivot, source = pivot or world.pivot, source or world.source
    mapping = build_map(world.source_table, world.pivot_table, BytePrefix())
    result = project(
        pivot.tokens, source, mapping, (world.pivot_table, world.source_table), AlignSettings(**options)
    )
    return summarize(pivot, source, result, sizes(world.texts if texts is None else texts)), result


def sizes(texts):
    """Bytes of every message; the worlds' turns are messages 1, 3, ..."""
    return message_bytes([[n for t in turns for n in (0, len(t.encode()))] for turns in texts])


@settings(max_examples=80, deadline=None)
@given(worlds())
def test_retention_is_at_most_one_and_its_sums_add_up(world):
    slots = (
        world.source.topk.k + 1
    )  # one more: conversations with the same rows on both sides are not passed through as they are
    total, result = summary(world, k=slots)
    assert total.rows == world.pivot.tokens.rows == total.exact + total.inside + total.unaligned
    assert total.retention <= 1 + 1e-3 and total.map_retention <= total.retention + 1e-3
    assert total.unaligned == (result.kind == UNALIGNED).sum()
    parts = AlignSummary()
    for c in range(world.pivot.tokens.conversations):
        parts += summary(world, pivot=world.pivot.slice(c, c + 1), source=world.source.slice(c, c + 1),
                         texts=world.texts[c : c + 1], k=slots)[0]  # fmt: skip
    for name, value in total.figures().items():
        # Not to the last bit: which control tokens end turns is learnt from the conversations that are aligned together.
        assert parts.figures()[name] == pytest.approx(value, rel=1e-3, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(worlds(led=False))
def test_the_observed_path_keeps_everything_by_construction(world):
    total, _ = summary(world, min_mass=0.0)
    assert total.retention == pytest.approx(1.0, abs=5e-3)
    assert total.path_bits == pytest.approx(total.source_bits, abs=0.05 + 1e-3 * total.source_bits)
    assert total.text_bits == pytest.approx(total.source_bits, abs=0.05 + 1e-2 * total.source_bits)
    assert total.aligned_bytes == total.bytes


def test_nothing_gives_ones_not_nans():
    assert AlignSummary().retention == 1.0 and not any(np.isnan(v) for v in AlignSummary().figures().values())
