"""The observed path, step by step, on rows written by hand. The steps are run as Python: `py_func`."""

import numpy as np
import pytest

from fusionchat.align.projection import path
from fusionchat.align.projection.arrays import Known, Prefix
from tests.align.projection.rows import entries, loops, scored

HELLO = {0: 0.6, 1: 0.2}
"""What is kept: hello 0.6, hell 0.2; ho and x are in the tail, 0.2."""
near = {"rel": 1e-3}


@pytest.mark.parametrize(
    ("token", "low", "size", "expected"), [(0, 0, 4, True), (1, 0, 4, True), (1, 0, 5, False), (2, 0, 2, False), (2, 0, 1, True)]
)  # fmt: skip
def test_whether_a_token_begins_with_bytes_of_another(token, low, size, expected):
    words = loops(scored([HELLO], [0])).words
    assert path.starts_with.py_func(words.data, words.offsets, token, low, size) == expected


@pytest.mark.parametrize(
    ("size", "matched", "expected"), [(1, 2, 0.2 / 2), (2, 2, 0), (4, 0, 0.2), (1, 0, 0.3)]
)
def test_the_tail_s_share_is_even_over_its_tokens(size, matched, expected):
    """Two tokens are in a tail of 0.2, three begin with h, two with hell; a share counts those that were not matched."""
    lookup = loops(scored([HELLO], [0])).lookup
    assert path.tail_share.py_func(0.2, matched, 2, Prefix(0, size), lookup) == pytest.approx(expected)


def test_a_tail_without_tokens_has_no_share():
    assert path.tail_share.py_func(0.2, 0, 4, Prefix(0, 1), loops(scored([HELLO], [0])).lookup) == 0


def test_the_mass_of_a_goal():
    room = entries([0, 1, 2], [0.6, 0.2, 0.1], goal=[5, 4, 5])
    assert path.goal_mass.py_func(room, 3, 5) == pytest.approx(0.7)
    assert path.goal_mass.py_func(room, 2, 5) == pytest.approx(0.6)


@pytest.mark.parametrize(("size", "expected"), [(5, 0.6), (4, 0.8), (1, 0.8 + 0.1)])
def test_the_mass_of_a_prefix(size, expected):
    """h: hello, hell, and ho, which has half of the tail."""
    given = loops(scored([HELLO], [0]))
    assert path.prefix_mass(given.side, 0, size, given.words, given.lookup) == pytest.approx(expected, **near)


def test_a_label_that_is_not_kept_is_taken_from_the_tail():
    """ho has 0.15 of the tail's 0.2; x has the rest, so nothing else begins with ho."""
    given = loops(scored([HELLO], [2], label_logprob=[np.log(0.15)]))
    assert path.prefix_mass(given.side, 0, 2, given.words, given.lookup) == pytest.approx(0.15, **near)
    assert path.prefix_mass(given.side, 0, 1, given.words, given.lookup) == pytest.approx(0.95, **near)


@pytest.mark.parametrize(("end", "expected"), [(5, False), (6, True)])
def test_a_token_that_covers_more_than_its_bytes(end, expected):
    given = loops(scored([HELLO], [0], end=[end]))
    assert path.swallows.py_func(given.side, 0, given.words) == expected


def chained(end, rows=None, **options):
    """The chain after row 0 of "hello" "ho" "hell", up to a byte."""
    rows = rows or [HELLO, {2: 0.5, 3: 0.1}, {1: 0.25, 0: 0.5}]
    given = loops(scored(rows, [0, 2, 1], end=[5, 7, 11], **options))
    return path.chain(given.side, 0, end, given.words, given.lookup)


@pytest.mark.parametrize(
    ("end", "expected"), [(5, 1), (7, 0.5), (11, 0.5 * 0.25), (10, 0.5 * 0.75), (6, 0.5 + 0.4)]
)
def test_the_chain_multiplies_and_ends_inside_a_token(end, expected):
    """Byte 10 is inside "hell": hello begins so, too. Byte 6 is inside "ho": all that begin with h, two in a tail of 0.4."""
    assert chained(end) == pytest.approx(expected, **near)


def test_the_chain_breaks_at_the_end_of_the_turn_and_of_the_text():
    assert np.isnan(chained(7, turn=[1, 2, 2]))
    assert np.isnan(chained(12))


def test_the_chain_breaks_where_a_row_has_no_distribution():
    source = scored([HELLO, {2: 0.5}], [0, 2], end=[5, 7])
    source.topk.present[1] = False
    given = loops(source)
    assert np.isnan(path.chain(given.side, 0, 7, given.words, given.lookup))


def test_one_more_entry():
    room = entries([0], [0.6], goal=[3])
    assert path.give.py_func(room, 1, 5, 0.25) == 2
    assert (room.token[1], room.goal[1], room.mass[1]) == (-1, 5, 0.25) and np.isnan(room.logprob[1])


@pytest.mark.parametrize("observed", [True, False])
def test_a_label_that_ends_inside_takes_all_that_begin_so(observed):
    """The pivot's label is h, inside hello: hello and hell begin so, and half of the tail."""
    given = loops(scored([HELLO], [0]))
    room = entries([0, 1], [0.6, 0.2], goal=[2, 3])
    known = Known(entries=2, label=0, tail=0.2, text=2, goal=7 if observed else -1)
    count, mass, taken = path.observe_inside(room, known, Prefix(0, 1), given.words, given.lookup)
    assert mass == pytest.approx(0.9)
    assert (count, taken) == ((3, pytest.approx(0.1)) if observed else (2, 0))
    assert room.goal[:3].tolist() == ([7, 7, 7] if observed else [2, 3, -1])


def observed_whole(mass, goal, *, same=False, observed=True):
    """Row 0 is hello: 0.6, hell: 0.2; the label is pivot token 7, with a mass by the chain rule: (room, entries)."""
    room = entries([0, 1], [0.6, 0.2], goal=goal)
    known = Known(entries=2, label=0, tail=0.2, text=2, goal=7 if observed else -1)
    return room, path.observe_whole(room, known, 7, mass, same)


@pytest.mark.parametrize("observed", [True, False])
def test_a_label_of_the_same_end_takes_the_source_s(observed):
    """Of text only with the observed path, of other tokens always: the caller decides."""
    room, count = observed_whole(0.6, [2, 3], same=True, observed=observed)
    assert count == 2 and room.goal[:2].tolist() == [7, 3] and room.mass[:2].tolist() == [0.6, 0.2]


def test_a_label_over_two_tokens_takes_their_product_from_the_first():
    """0.6 * 0.5 = 0.3, of which 0.2 is there already: 0.1 moves from hello's goal to the label."""
    room, count = observed_whole(0.3, [2, 7])
    assert count == 3
    assert room.mass[:3] == pytest.approx([0.5, 0.2, 0.1], **near) and room.goal[:3].tolist() == [2, 7, 7]


@pytest.mark.parametrize(
    ("mass", "goal", "observed"),
    [(0.3, [2, 7], False), (0.3, [7, 3], True), (0.15, [2, 7], True), (np.nan, [2, 3], True)],
)
def test_nothing_moves_where_the_label_has_enough_or_nothing_is_known(mass, goal, observed):
    room, count = observed_whole(mass, goal, observed=observed)
    assert count == 2 and room.mass[:2].tolist() == [0.6, 0.2] and room.goal[:2].tolist() == goal
