"""The steps of the projection of one row, written by hand. The steps are run as Python: `py_func`."""

import numpy as np
import pytest

from fusionchat.align.positions import Attached, Places, places
from fusionchat.align.projection import kernel
from fusionchat.align.projection.arrays import EXACT, INSIDE, UNALIGNED, Fronts, Made, Out, Pair, Prefix, Task
from tests.align.projection.rows import entries, hello, loops, rules, scored, slots

HELLO = {0: 0.6, 1: 0.2, 2: 0.1, 3: 0.1}
near = {"rel": 1e-3}


def loaded(row, label, **options):
    """What `load` finds in a row: (entries as (token, mass), label's index, tail)."""
    given, room = loops(scored([row], [label], **options)), entries()
    count, at, tail = kernel.load.py_func(given.side, 0, room)
    return [(int(room.token[e]), float(room.mass[e])) for e in range(count)], at, tail


def test_the_known_tokens_of_a_row_are_loaded():
    found, at, tail = loaded({1: 0.5, 3: 0.25}, 3)
    assert found == [(1, pytest.approx(0.5, **near)), (3, pytest.approx(0.25, **near))]
    assert (at, tail) == (1, pytest.approx(0.25, **near))


def test_a_label_outside_the_kept_tokens_leaves_the_tail():
    found, at, tail = loaded({1: 0.5}, 2, label_logprob=[np.log(0.125)])
    assert found == [(1, pytest.approx(0.5, **near)), (2, pytest.approx(0.125))]
    assert (at, tail) == (1, pytest.approx(0.375, **near))
    assert loaded({1: 0.5}, 2)[1:] == (-1, pytest.approx(0.5, **near))  # NaN: not known


def test_text_tokens_are_counted():
    words = loops(scored([HELLO], [0]), control=2).words
    assert kernel.text_entries.py_func(entries([0, 1, 2, 3], [0.6, 0.2, 0.1, 0.1]), 4, words) == 2


@pytest.mark.parametrize(
    ("label", "size", "kept"), [(0, 1, [0, 1, 2]), (0, 2, [0, 1]), (2, 2, [2]), (3, 1, [3])]
)
def test_conditioning_keeps_what_begins_so(label, size, kept):
    words, room = loops(scored([HELLO], [0])).words, entries([0, 1, 2, 3], [0.6, 0.2, 0.1, 0.1])
    count, at, mass = kernel.condition.py_func(room, 4, label, words, Prefix(int(words.offsets[label]), size))
    assert room.token[:count].tolist() == kept and kept[at] == label
    assert mass == pytest.approx(sum(HELLO[t] for t in kept))


@pytest.mark.parametrize(
    ("token", "size", "expected"), [(0, 0, 2), (1, 0, 2), (2, 0, 3), (3, 0, -1), (0, 1, -1)]
)
def test_the_pivot_token_after_bytes_of_the_template(token, size, expected):
    """The pivot's token begins with ":" of the template: ":he" for hello, ":ho" for ho; ":" alone says nothing of x."""
    given = loops(scored([HELLO], [0]), pivot_tokens=[b":", b":h", b":he", b":ho"])
    before = np.frombuffer(b":", np.uint8)
    assert kernel.after_prefix.py_func(token, given.words, given.lookup, before, size) == expected


def test_a_whole_rest_is_asked_for():
    given = loops(scored([HELLO], [0]), pivot_tokens=[b":", b":h", b":ho"], whole=True)
    before = np.frombuffer(b":", np.uint8)
    found = [kernel.after_prefix.py_func(t, given.words, given.lookup, before, 0) for t in (0, 2)]
    assert found == [-1, 2]


@pytest.mark.parametrize(("size", "expected"), [(0, [0, 0, 0, 5]), (1, [2, 3, 4, -1]), (2, [-1, -1, -1, -1])])
def test_entries_get_the_pivot_token_of_the_whole_or_the_rest(size, expected):
    """Whole tokens: h, h, h, x. After the first byte: ello, ell, o, nothing. After two: nothing begins with l."""
    given, nothing = loops(scored([HELLO], [0])), np.zeros(0, np.uint8)
    assert [kernel.goal_of.py_func(t, given.words, given.lookup, nothing, size) for t in range(4)] == expected


def test_an_entry_gets_the_pivot_token_of_the_template_s_bytes_and_its_own():
    given = loops(scored([HELLO], [0]), pivot_tokens=[b":", b":h", b":he", b":ho"])
    before = np.frombuffer(b":", np.uint8)
    assert [kernel.goal_of.py_func(t, given.words, given.lookup, before, 0) for t in range(4)] == [
        2,
        2,
        3,
        -1,
    ]


def test_entries_that_meet_add_up():
    room = entries([0, 1, 2, 3], [0.1, 0.2, 0.3, 0.4], goal=[5, -1, 5, 2])
    assert kernel.add_up.py_func(room, 4) == (2, pytest.approx(0.2), 1)
    assert room.slot[:2].tolist() == [5, 2] and room.slot_parts[:2].tolist() == [2, 1]
    assert room.slot_mass[:2] == pytest.approx([0.4, 0.4])


def test_slots_are_ordered_and_ties_stay():
    room = slots([7, 8, 9, 6], [0.1, 0.3, 0.1, 0.5], parts=[1, 2, 3, 4])
    kernel.sort_slots.py_func(room, 4)
    assert room.slot[:4].tolist() == [6, 8, 7, 9] and room.slot_parts[:4].tolist() == [4, 2, 1, 3]
    assert room.slot_mass[:4].tolist() == [0.5, 0.3, 0.1, 0.1]
    assert room.slot_logprob[:4] == pytest.approx(np.log([0.5, 0.3, 0.1, 0.1]))


def written(rows, most):
    """Room for output rows."""
    return Out(
        ids=np.zeros((rows, most), np.int32),
        logprobs=np.full((rows, most), -np.inf, np.float32),
        **{name: np.full(rows, np.nan, np.float32) for name in ("tail", "label_logprob", "map_logprob")},
        path_logprob=np.full(rows, np.nan, np.float32),
        kept=np.zeros(rows, np.float32),
        kind=np.zeros(rows, np.uint8),
    )


@pytest.mark.parametrize(
    ("gold", "ids", "mass", "tail", "label"),
    [
        (7, [7, 8], [0.5, 0.3], 0.2, 0.5),
        (9, [7, 9], [0.5, 0.125], 0.375, 0.125),  # the label takes the last slot
        (4, [7, 8], [0.5, 0.3], 0.2, 0.2 / 10),  # its even share of the tail, of 10 tokens
    ],
)
def test_the_largest_are_written_the_label_among_them(gold, ids, mass, tail, label):
    out, room = written(1, 2), slots([7, 8, 9], [0.5, 0.3, 0.125])
    kernel.emit.py_func(room, out, 0, Made(3, 0.075, 1.0, gold, 10))
    assert out.ids[0].tolist() == ids and np.exp(out.logprobs[0]) == pytest.approx(mass)
    assert np.exp(out.tail[0]) == pytest.approx(tail) and out.kept[0] == pytest.approx(sum(mass))
    assert np.exp(out.label_logprob[0]) == pytest.approx(label)


def test_masses_are_divided_by_the_scale():
    out, room = written(1, 2), slots([7, 8], [0.25, 0.125])
    kernel.emit.py_func(room, out, 0, Made(2, 0.125, 0.5, 7, 10))
    assert np.exp(out.logprobs[0]) == pytest.approx([0.5, 0.25]) and np.exp(out.tail[0]) == pytest.approx(
        0.25
    )


def test_a_mass_of_one_part_keeps_the_bits_of_its_log_probability():
    out, room = written(1, 2), slots([7, 8], [0.5, 0.5], parts=[1, 2])
    room.slot_logprob[:2] = -0.25
    kernel.emit.py_func(room, out, 0, Made(2, 0.0, 1.0, 7, 10))
    assert out.logprobs[0].tolist() == [-0.25, np.float32(np.log(0.5))] and out.tail[0] == -np.inf


def test_a_tail_is_spread_over_the_vocabulary():
    assert kernel.spread.py_func(0.2, 10) == pytest.approx(np.log(0.02))
    assert kernel.spread.py_func(0.0, 10) == pytest.approx(np.log(1e-31))


@pytest.mark.parametrize(
    ("size", "more", "expected"), [(2, 2, (0, 0)), (2, 1, (1, 0)), (1, 2, (1, 2)), (0, 2, (0, 2))]
)
def test_template_bytes_that_both_have_are_context(size, more, expected):
    """The source's label is "ab..." and the pivot's "ab...": of 2 and 1, b is compared with a, of 1 and 2, a with b."""
    given = loops(scored([HELLO], [0]), [b"abh", b"hell"], [b"abx", b"bx"])
    gold = 1 if (size, more) == (2, 1) else 0
    assert kernel.shorten.py_func(Fronts(size, more), given.words, 0, given.words_W, gold) == expected


def attached(*rows):
    """The source rows of h, where the context begins, and of ello, one byte inside the source's token."""
    return Attached(np.array(rows), np.array([0, 1], np.int32))


def test_where_the_context_ends_makes_the_kind_of_a_row():
    """h begins with hello; ello begins inside it; a row without a source row is not aligned."""
    pivot, source = hello(4)[:2]
    given = loops(source)
    sides = places(pivot), places(source.tokens), given.words, given.words_W
    assert kernel.kinds_of_rows(attached(0, 0), *sides).tolist() == [
        EXACT,
        INSIDE,
    ]
    assert kernel.kinds_of_rows(attached(-1, 0), *sides).tolist() == [
        UNALIGNED,
        INSIDE,
    ]


def spans(begin, text, end):
    """One pivot row."""
    one = [np.array([value], np.int32) for value in (0, 1, begin, text, end)]
    return Places(*one, np.array([0, 1]))


def test_bytes_in_front_of_the_context():
    given, source = loops(scored([HELLO], [0])), scored([HELLO], [0])
    asked = places(source.tokens), given.words, given.words_W
    assert kernel.fronts_of.py_func(Pair(0, 0, 2), spans(0, 0, 1), *asked) == (2, 0)
    assert kernel.fronts_of.py_func(Pair(0, 0, 0), spans(-1, 0, 1), *asked) == (0, 1)
    assert kernel.fronts_of.py_func(Pair(0, 0, 1), spans(-1, 0, 1), *asked) == (0, 0)  # both have h


@pytest.mark.parametrize(
    ("pivot", "size", "end", "expected"),
    [
        (spans(0, 0, 1), 1, 5, True),
        (spans(0, 1, 1), 1, 5, False),  # a token of no byte, inside a source token
        (spans(0, 1, 1), 0, 5, True),
        (spans(0, 0, 1), 0, 6, False),  # the source's token covers a space that is not in it
        (spans(0, 0, 6), 0, 6, True),
        (spans(0, 0, 6), 1, 6, False),
    ],
)
def test_whether_a_source_row_says_anything(pivot, size, end, expected):
    source = places(scored([HELLO], [0], end=[end]).tokens)
    words = loops(scored([HELLO], [0])).words
    assert kernel.meets.py_func(Pair(0, 0, size), Fronts(size, 0), pivot, source, words) == expected


def test_rows_are_projected_one_by_one():
    """Row 0 is h: 0.9, and x: 0.1; row 1, inside hello, is ello, ell, o: 6, 2, 1 of 9. A row without a source stays."""
    pivot, source = hello(4)[:2]
    given, out = loops(source), written(2, 4)
    task = Task(places(pivot), *given, rules())
    kernel.project_rows(attached(0, 0), task, out)
    assert out.kind.tolist() == [EXACT, INSIDE]
    assert out.ids[0, :2].tolist() == [0, 5] and np.exp(out.logprobs[0, :2]) == pytest.approx(
        [0.9, 0.1], **near
    )
    assert out.ids[1, :3].tolist() == [2, 3, 4]
    assert np.exp(out.logprobs[1, :3]) == pytest.approx([6 / 9, 2 / 9, 1 / 9], **near)
    assert np.exp(out.map_logprob) == pytest.approx([0.9, 6 / 9], **near)
    assert np.exp(out.path_logprob) == pytest.approx([0.9, 6 / 9], **near)
    untouched = written(2, 4)
    kernel.project_rows(attached(-1, 0), task, untouched)
    assert untouched.kind.tolist() == [UNALIGNED, INSIDE] and np.isnan(untouched.tail[0])
    source.topk.present[0] = False
    kernel.project_rows(attached(0, 0), task, nothing := written(2, 4))
    assert nothing.kind.tolist() == [UNALIGNED, UNALIGNED]


def test_too_little_known_mass_is_no_distribution():
    """After h: 0.8 of 0.9 are known with two kept tokens (ho has half of the tail)."""
    pivot, source = hello(2)[:2]
    given = loops(source)
    for least, expected in ((0.85, INSIDE), (0.95, UNALIGNED)):
        task = Task(places(pivot), *given, rules(min_mass=least))
        kernel.project_rows(attached(-1, 0), task, out := written(2, 4))
        assert out.kind[1] == expected
