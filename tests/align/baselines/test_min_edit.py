import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from fusionchat.align.baselines.min_edit import clear_masks, distance, fill_masks, nearest_tokens
from fusionchat.tokens.spans import make_table

ANY = st.lists(st.binary(min_size=0, max_size=80), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=90), st.binary(max_size=90))
def test_the_distance_is_levenshteins(left, right):
    mine, theirs, peq = (
        np.frombuffer(left, np.uint8),
        np.frombuffer(right, np.uint8),
        np.zeros(256, np.uint64),
    )
    fill_masks(peq, mine, 0, len(mine))
    assert distance(peq, len(mine), mine, 0, theirs, 0, len(theirs), 1 << 40) == Levenshtein.distance(
        left, right
    )
    clear_masks(peq, mine, 0, len(mine))
    assert not peq.any()


@settings(max_examples=150, deadline=None)
@given(source=ANY, pivot=ANY)
def test_min_edit_is_the_nearest_with_the_lowest_id(source, pivot):
    nearest = nearest_tokens(make_table(source), make_table(pivot), np.arange(len(source)))
    for spelled, found in zip(source, nearest, strict=True):
        if not any(pivot):
            assert found == -1
            continue
        distances = [Levenshtein.distance(spelled, p) if p else 10**6 for p in pivot]
        assert found == int(np.argmin(distances))
