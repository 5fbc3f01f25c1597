"""Compact places: any integers come back as they were; rows that follow each other cost a byte."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.corpus.compact import ESCAPED, pack, unpack

INT32 = st.integers(-(2**31), 2**31 - 1)
LIKELY = st.one_of(st.integers(-3, 300), INT32)


@st.composite
def spans(draw):
    """Rows of some conversations: some follow each other, some overlap, some are anything."""
    rows, place, at, turn = [], 0, 0, 0
    counts = draw(st.lists(st.integers(0, 8), max_size=6))
    for _ in range(sum(counts)):
        kind = draw(st.sampled_from(["next", "next", "turn", "gap", "overlap", "anything"]))
        size = draw(st.sampled_from([0, 1, 4, 254, 255, 256]))
        place, begin, turn = {
            "next": (place + 1, at, turn),
            "turn": (place + 5, 0, turn + draw(st.integers(1, 70_000))),
            "gap": (place + 2, at + 3, turn),
            "overlap": (place + 1, at - 1, turn),
            "anything": (draw(LIKELY), draw(LIKELY), draw(LIKELY)),
        }[kind]
        end = begin + size if kind != "anything" else draw(LIKELY)
        begin, end, place, turn = (
            min(max(value, -(2**31)), 2**31 - 1) for value in (begin, end, place, turn)
        )
        rows.append((place, turn, begin, end))
        at = end
    columns = np.array(rows, np.int32).reshape(-1, 4).T.copy()
    return columns, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@given(spans(), st.data())
def test_rows_come_back_as_they_were(made, data):
    columns, offsets = made
    compact = pack(*columns, offsets)
    first = data.draw(st.integers(0, len(offsets) - 1))
    last = data.draw(st.integers(first, len(offsets) - 1))
    for back, own in zip(unpack(compact, offsets, first, last), columns, strict=True):
        assert back.dtype == np.int32
        assert back.tolist() == own[offsets[first] : offsets[last]].tolist()


def test_two_turns_by_hand():
    """The second begins with a byte of the template, and its last token is longer than a byte says."""
    places, turn = np.array([4, 5, 6, 9, 10]), np.array([1, 1, 1, 3, 3])
    begin, end = np.array([0, 3, 4, -1, 2]), np.array([3, 4, 5, 2, 400])
    compact = pack(*(one.astype(np.int32) for one in (places, turn, begin, end)), np.array([0, 5]))
    assert compact.runs.tolist() == [[3, 4, 1], [2, 9, 3]] and compact.run_ends.tolist() == [0, 2]
    assert compact.sizes.tolist() == [3, 1, 1, ESCAPED, ESCAPED]
    assert compact.escapes.tolist() == [[-1, 2], [2, 400]] and compact.escape_ends.tolist() == [0, 2]


def test_a_conversation_begins_a_run():
    """Else the second one's rows could not be read without the first's."""
    places = np.array([1, 2, 3, 4], np.int32)
    compact = pack(places, np.ones(4, np.int32), places - 1, places, np.array([0, 2, 2, 4]))
    assert compact.runs.tolist() == [[2, 1, 1], [2, 3, 1]]
    assert compact.run_ends.tolist() == [0, 1, 1, 2]
    assert [one.tolist() for one in unpack(compact, np.array([0, 2, 2, 4]), 2, 3)] == [
        [3, 4],
        [1, 1],
        [2, 3],
        [3, 4],
    ]
