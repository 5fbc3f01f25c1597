import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.align.baselines.dtw import attach_by_dtw, warp
from fusionchat.align.projection.project import project
from fusionchat.align.settings import AlignSettings, BytePrefix
from fusionchat.align.vocabulary import build_map
from fusionchat.tokens.spans import make_table
from tests.align.worlds import worlds
from tests.reference import align as slow

TOKENS = [b"a", b" a", b"ab", b" ab", b"b", b"the", b" the", b"x" * 70, b"x" * 66]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=12), st.lists(st.integers(0, 8), min_size=1, max_size=12)
)
def test_equals_the_published_algorithm(mine, theirs):
    table = make_table(TOKENS)
    found = warp(table, np.array(mine, np.int32), table, np.array(theirs, np.int32))
    assert found.tolist() == slow.dtw([TOKENS[i] for i in mine], [TOKENS[j] for j in theirs])


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_turn_by_turn(world):
    attached = attach_by_dtw(world.pivot.tokens, world.source.tokens, world.pivot_table, world.source_table)
    assert (attached.row >= 0).all() and not attached.residual.any()
    assert (world.source.tokens.turn[attached.row] == world.pivot.tokens.turn).all()
    mapping = build_map(world.source_table, world.pivot_table, BytePrefix())
    result = project(
        world.pivot.tokens,
        world.source,
        mapping,
        (world.pivot_table, world.source_table),
        AlignSettings(positions="dtw"),
    )
    mass = np.exp(result.topk.logprobs.astype(np.float64)).sum(1) + np.exp(
        result.topk.tail.astype(np.float64)
    )
    assert np.abs(mass - 1)[result.topk.present].max(initial=0) < 1e-3
