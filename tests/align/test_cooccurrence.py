import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.align.cooccurrence import count_pairs, merge_counts, most_frequent
from fusionchat.tokens.spans import make_table
from tests.reference.align import edit_distance


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=60), st.integers(1, 5))
def test_counts(pairs, parts):
    source, pivot = (np.array([p[i] for p in pairs], np.int32) for i in (0, 1))
    counts = count_pairs(source, pivot)
    expected = {}
    for pair in pairs:
        expected[pair] = expected.get(pair, 0) + 1
    assert list(zip(counts.source, counts.pivot, strict=True)) == sorted(expected)
    assert counts.times.tolist() == [expected[p] for p in sorted(expected)]
    split = [count_pairs(source[i::parts], pivot[i::parts]) for i in range(parts)]
    merged = merge_counts(split)
    assert all((a == b).all() for a, b in zip(merged, counts, strict=True))
    tables = (
        make_table([b"a", b"bb", b"abc", b"c", b"d"]),
        make_table([b"a", b"b", b"c", b"ab", b"abd", b"d"]),
    )
    best = most_frequent(*tables, counts)
    for token in range(5):
        met = [
            (-n, edit_distance(tables[0].token(token), tables[1].token(p)), p)
            for (s, p), n in expected.items()
            if s == token
        ]
        assert best[token] == (min(met)[2] if met else -1)


def test_many_counts_grow_the_table():
    rng = np.random.default_rng(0)
    source, pivot = rng.integers(0, 150_000, 200_000), rng.integers(0, 32_000, 200_000)
    counts = count_pairs(source.astype(np.int32), pivot.astype(np.int32))
    keys, times = np.unique(source << 32 | pivot, return_counts=True)
    assert (counts.times == times).all() and (counts.source == keys >> 32).all()
