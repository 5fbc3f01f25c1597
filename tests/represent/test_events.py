"""Events: bytes and ends of turns, what all models score, and who wins by it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.fuse.rules.mean_ce import MeanCE
from fusionchat.fuse.rules.min_ce import MinCE
from fusionchat.fuse.scores import score_units
from fusionchat.represent.events import common, events_of, message_bytes
from fusionchat.represent.topk import Scored, TopK


def capture(*talks, bits=None):
    """A model's rows: one list of (turn, begin, end, bits) a conversation."""
    rows = [row for talk in talks for row in talk]
    n = len(rows)
    turn, begin, end = (np.array([row[i] for row in rows], np.int32) for i in range(3))
    offsets = np.cumsum([0, *map(len, talks)]).astype(np.int64)
    topk = TopK(
        np.zeros((n, 1), np.int32),
        np.zeros((n, 1), np.float16),
        np.full(n, -np.inf, np.float16),
        np.ones(n, bool),
    )
    nats = np.array([-row[3] * np.log(2) for row in rows], np.float32)
    return Scored(SupervisedTokens(np.zeros(n, np.int32), turn, begin, end, offsets), topk, nats)


def scored_events(scored, sizes):
    return events_of(scored.tokens, sizes)


def tile(cuts, bits=1.0, turn=1):
    """Rows between successive cuts."""
    return [(turn, a, b, bits) for a, b in pairwise(cuts)]


SIZES = np.array([[3, 6]])  # a question of 3 bytes, an answer of 6: its end is event 6


def winner(*captures, rule=MinCE(), sizes=SIZES):  # noqa: B008
    return rule.weights(score_units(captures, rule, sizes).ce)


def test_bytes_of_rows_leave_out_the_end_of_turn_and_template_bytes():
    """Rows of "héllo" (6 bytes): one with a template byte in front, one that has the last byte and the end of turn."""
    events = scored_events(capture([(1, -1, 2, 1), (1, 2, 5, 1), (1, 5, 7, 1)]), SIZES)
    assert events.begin.tolist() == [0, 2, 5] and events.bytes.tolist() == [2, 3, 1] and events.ends == 1
    apart = scored_events(capture([(1, 0, 6, 1), (1, 6, 7, 1)]), SIZES)
    assert apart.bytes.tolist() == [6, 0] and apart.ends == 1


def test_message_bytes_are_padded():
    assert message_bytes([[3], [1, 2]]).tolist() == [[3, 0], [1, 2]] and message_bytes([]).shape == (0, 0)


def test_a_first_token_without_a_row_is_charged_to_nobody():
    """The source lacks bytes 0..1, on which the pivot spends 20 bits; on bytes 2..5 the pivot is better: 4 bits, not 6."""
    pivot = capture([(1, 0, 2, 20.0), (1, 2, 4, 2.0), (1, 4, 6, 2.0)])
    source = capture([(1, 2, 6, 6.0)])
    scored = score_units([pivot, source], MinCE(), SIZES)
    assert scored.ce[:, 0] == pytest.approx([4 / 4, 6 / 4]) and scored.shared.tolist() == [False, True, True]
    assert winner(pivot, source)[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("rule", [MinCE(), MeanCE(), MinCE(per="turn"), MinCE(unit="nats_per_token")])
def test_an_end_of_turn_that_a_template_does_not_write_is_charged_to_nobody(rule):
    """By hand: both need 1 bit a byte, the pivot 30 more for its end of turn, which the source does not have."""
    without, with_end = capture(tile([0, 2, 4, 6])), capture([*tile([0, 2, 4, 6]), (1, 6, 7, 30.0)])
    place = 1 if rule.per == "turn" else 0
    for models in ((with_end, without), (without, with_end)):
        ce = score_units(models, rule, SIZES).ce[:, place]
        assert ce[0] == pytest.approx(ce[1]) and ce[0] > 0
    if isinstance(rule, MeanCE):
        assert winner(with_end, without, rule=rule)[:, 0] == pytest.approx([0.5, 0.5])


def test_a_token_over_the_edge_leaves_with_the_smallest_region():
    """The pivot has no row for byte 0. The source's 0..3 straddles that edge, so 0..3 is left out on both sides."""
    pivot = capture([(1, 1, 3, 9.0), (1, 3, 4, 1.0), (1, 4, 6, 1.0)])
    source = capture([(1, 0, 3, 1.0), (1, 3, 6, 1.5)])
    scored = score_units([pivot, source], MinCE(), SIZES)
    assert scored.ce[:, 0] == pytest.approx([2 / 3, 1.5 / 3]) and scored.shared.tolist() == [
        False,
        True,
        True,
    ]


def test_an_end_merged_with_text_is_one_region():
    """The source writes the last two bytes and the end as one token: the pivot's three rows there are its counterpart."""
    pivot = capture([*tile([0, 4, 5, 6]), (1, 6, 7, 2.0)])
    source = capture([(1, 0, 4, 1.0), (1, 4, 7, 3.0)])
    assert score_units([pivot, source], MinCE(), SIZES).ce[:, 0] == pytest.approx([5 / 6, 4 / 6])
    short = capture(tile([0, 4, 5, 6]))
    assert score_units([short, source], MinCE(), SIZES).ce[:, 0] == pytest.approx([1 / 4, 1 / 4])


def test_a_turn_cut_inside_a_token_of_one_model():
    """A cut conversation: the pivot's last token ends at byte 4, the source's at 6; bytes 4 and 5 are nobody's."""
    pivot, source = capture(tile([0, 2, 4], 2.0)), capture(tile([0, 2, 4, 6], 1.0))
    assert score_units([pivot, source], MinCE(), SIZES).ce[:, 0] == pytest.approx([1.0, 0.5])


def test_an_end_of_turn_alone_is_compared_in_bits():
    """An empty answer: its end is the only event, and there is no byte to divide by."""
    pivot, source = capture([(1, 0, 1, 3.0)]), capture([(1, 0, 1, 2.0)])
    assert score_units([pivot, source], MinCE(), np.array([[3, 0]])).ce[:, 0] == pytest.approx([3.0, 2.0])


def test_a_model_that_shares_nothing_is_not_compared_and_does_not_disturb_the_others():
    pivot = capture([*tile([0, 6], 8.0), *tile([0, 6], 8.0, turn=3)])
    source = capture([*tile([0, 6], 2.0), *tile([0, 6], 9.0, turn=3)])
    absent = capture([*tile([0, 6], 1.0, turn=3)])
    sizes = np.array([[3, 6, 3, 6]])
    by_turn = score_units([pivot, source, absent], MinCE(per="turn"), sizes)
    assert np.isnan(by_turn.ce[2, 1]) and by_turn.ce[:2, 1] == pytest.approx([8 / 6, 2 / 6])
    assert by_turn.ce[:, 3] == pytest.approx([8 / 6, 9 / 6, 1 / 6])
    assert by_turn.shared.tolist() == [False, True]
    assert winner(pivot, source, absent, rule=MinCE(per="turn"), sizes=sizes)[:, [1, 3]].T.tolist() == [
        [0, 1, 0],
        [0, 0, 1],
    ]


def test_where_nobody_shares_anything_the_pivot_wins():
    assert winner(capture(tile([0, 6])), capture(tile([0, 6], turn=3)), sizes=np.array([[3, 6, 3, 6]]))[
        :, 0
    ].tolist() == [1, 0]


def test_a_row_of_no_length_goes_with_what_begins_where_it_is():
    one, two = capture([(1, 0, 2, 1), (1, 2, 2, 5), (1, 2, 6, 1)]), capture([(1, 0, 2, 1), (1, 2, 6, 1)])
    masks = common([scored_events(one, SIZES), scored_events(two, SIZES)])
    assert masks[0].all() and masks[1].all()
    missing = capture([(1, 0, 2, 1)])
    masks = common([scored_events(one, SIZES), scored_events(missing, SIZES)])
    assert masks[0].tolist() == [True, False, False] and masks[1].tolist() == [True]


@st.composite
def tilings(draw, models):
    """Two conversations with up to two answers, tiled by every model, with rows missing here and there; bytes and models."""
    sizes = np.array([[2, draw(st.integers(0, 6)), 2, draw(st.integers(1, 6))] for _ in range(2)])
    made = []
    for _ in range(models):
        talks = []
        for c in range(2):
            rows = []
            for turn in (1, 3):
                stop = int(sizes[c, turn]) + 1
                inner = draw(st.sets(st.integers(1, stop - 1))) if stop > 1 else set()
                own = tile([0, *sorted(inner), stop], turn=turn)
                rows += [(*row[:3], draw(st.integers(0, 20)) / 4) for row in own if draw(st.integers(0, 4))]
            talks.append(rows)
        made.append(talks)
    return sizes, made


def reference(models):
    """The largest set of events that is a union of rows of every model, by taking rows away until nothing changes."""
    left = [{(c, *row[:3]) for c, talk in enumerate(talks) for row in talk} for talks in models]
    covers = lambda rows: {(c, turn, at) for c, turn, a, b in rows for at in range(a, b)}  # noqa: E731
    while True:
        everybody = set.intersection(*(covers(rows) for rows in left))
        fewer = [{r for r in rows if covers([r]) <= everybody} for rows in left]
        if fewer == left:
            return left
        left = fewer


@settings(max_examples=150, deadline=None)
@given(made=st.integers(2, 3).flatmap(tilings))
def test_common_rows_are_those_of_the_slow_reference(made):
    sizes, models = made
    events = [scored_events(capture(*talks), sizes) for talks in models]
    masks = common(events)
    for one, mask, expected in zip(events, masks, reference(models), strict=True):
        got = {
            tuple(int(v) for v in row)
            for row in zip(
                one.conversation[mask], one.turn[mask], one.begin[mask], one.end[mask], strict=True
            )
        }
        assert got == expected
    assert (
        len(
            {
                sum(int(one.bytes[mask].sum()) for one, mask in [pair])
                for pair in zip(events, masks, strict=True)
            }
        )
        == 1
    )


@settings(max_examples=150, deadline=None)
@given(made=tilings(2), per=st.sampled_from(["conversation", "turn"]), data=st.data())
def test_a_token_that_only_one_model_scores_never_changes_who_wins(made, per, data):
    """Take any row away that shares no event with a row of the other model, or give it any bits: nothing changes."""
    sizes, models = made
    rule = MinCE(per=per)
    before = winner(*(capture(*talks) for talks in models), rule=rule, sizes=sizes)
    which = data.draw(st.integers(0, 1))
    other = {
        (c, r[0], at) for c, talk in enumerate(models[1 - which]) for r in talk for at in range(r[1], r[2])
    }
    alone = [
        (c, r)
        for c, talk in enumerate(models[which])
        for r in talk
        if not other & {(c, r[0], at) for at in range(r[1], r[2])}
    ]
    if not alone:
        return
    c, row = data.draw(st.sampled_from(alone))
    for instead in ([], [(*row[:3], 1000.0)]):
        changed = [list(map(list, talks)) for talks in models]
        at = changed[which][c].index(row)
        changed[which][c][at : at + 1] = instead
        np.testing.assert_array_equal(winner(*(capture(*t) for t in changed), rule=rule, sizes=sizes), before)
