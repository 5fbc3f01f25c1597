import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusionchat.align.baselines.min_edit import clear_masks, distance, make_pattern, nearest_tokens
from fusionchat.tokens.spans import make_table
from tests.reference.align import edit_distance

ANY = st.lists(st.binary(min_size=0, max_size=70), min_size=1, max_size=12)


@settings(max_examples=70, deadline=None)
@given(st.binary(max_size=70), st.binary(max_size=70))
@example(bytes(range(66)), bytes([5, *range(20, 80)]))  # longer than a word of 64 bits
def test_the_distance_is_levenshteins(left, right):
    mine, theirs = (np.frombuffer(one, np.uint8) for one in (left, right))
    pattern = make_pattern(np.zeros(256, np.uint64), mine, 0, len(mine))
    assert distance(pattern, theirs, 0, len(theirs), 1 << 40) == edit_distance(left, right)
    clear_masks(pattern)
    assert not pattern.masks.any()


@settings(max_examples=70, deadline=None)
@given(source=ANY, pivot=ANY)
def test_min_edit_is_the_nearest_with_the_lowest_id(source, pivot):
    nearest = nearest_tokens(make_table(source), make_table(pivot), np.arange(len(source)))
    for spelled, found in zip(source, nearest, strict=True):
        if not any(pivot):
            assert found == -1
            continue
        distances = [edit_distance(spelled, p) if p else 10**6 for p in pivot]
        assert found == int(np.argmin(distances))
