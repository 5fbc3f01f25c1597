import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.align.cooccurrence import PairCounts
from fusionchat.align.settings import BytePrefix, Exact, MinEdit, Statistics
from fusionchat.align.trie import trie_of
from fusionchat.align.vocabulary import VocabularyMap, build_map, coverage
from fusionchat.tokens.spans import ADDED, FALLBACK, make_table

WORDS = st.lists(st.binary(min_size=1, max_size=9).map(lambda b: bytes(97 + x % 3 for x in b)), max_size=25)


@settings(max_examples=150, deadline=None)
@given(source=WORDS, pivot=WORDS)
def test_byte_prefix_is_the_longest_prefix(source, pivot):
    one, other = make_table([*source, b"zz"]), make_table([*pivot, b"y"])
    mapping = build_map(one, other, BytePrefix())
    tokens = [*pivot, b"y"]
    for t, spelled in enumerate([*source, b"zz"]):
        for at in range(len(spelled)):
            rest = spelled[at:]
            fits = [p for p in tokens if rest.startswith(p)]
            expected = tokens.index(max(fits, key=len)) if fits else -1
            assert mapping.rest[one.offsets[t] + at] == expected
        assert mapping.target[t] == mapping.rest[one.offsets[t]]


@settings(max_examples=80, deadline=None)
@given(source=WORDS, pivot=WORDS)
def test_exact_is_equal_bytes(source, pivot):
    one, other = make_table([*source, b"zz"]), make_table([*pivot, b"y"])
    mapping = build_map(one, other, Exact())
    for t, spelled in enumerate(source):
        assert mapping.target[t] == (pivot.index(spelled) if spelled in pivot else -1)
        if len(spelled) > 1:
            rest = spelled[1:]
            assert mapping.rest[one.offsets[t] + 1] == (pivot.index(rest) if rest in pivot else -1)


def test_min_edit_prefers_equal_bytes_and_skips_control_tokens():
    in_text = np.array([True, True, False])
    pivot = make_table([b"hat", b"cat", b"<c>"], in_text)
    source = make_table([b"cat", b"cot", b"<c>", b"<d>"], np.array([True, True, True, False]))
    mapping = build_map(source, pivot, MinEdit())
    assert mapping.target.tolist() == [1, 1, 0, -1]
    assert mapping.kind.tolist() == [1, 3, 3, 0]


def test_statistics_fall_back_to_the_nearest():
    source, pivot = make_table([b"ab", b"abc", b"x"]), make_table([b"a", b"ac", b"x"])
    counts = PairCounts(*(np.array(a) for a in ([0, 0], [0, 2], [2, 3])))
    mapping = build_map(source, pivot, Statistics(), counts)
    assert mapping.target.tolist() == [2, 1, 2]
    assert mapping.kind.tolist() == [4, 3, 1]


def test_the_corpus_chooses_among_prefixes():
    source, pivot = make_table([b"embark", b"ab", b"q"]), make_table([b"em", b"emb", b"bark", b"ab", b"a"])
    counts = PairCounts(*(np.array(a) for a in ([0, 0, 0, 1], [0, 1, 2, 4], [5, 2, 9, 9])))
    mapping = build_map(source, pivot, BytePrefix(), counts)
    assert mapping.target.tolist() == [0, 3, -1] and mapping.kind.tolist() == [2, 1, 0]
    assert build_map(source, pivot, BytePrefix()).target.tolist() == [1, 3, -1]


def test_roles_and_byte_pieces():
    flags = np.array([FALLBACK, 0, ADDED, ADDED], np.uint8)
    in_text = np.array([True, True, False, False])
    pivot = make_table([b" ", b" ", b"<s>", b"</s>"], in_text, flags, bos=2, eos=3)
    source = make_table([b"<a>", b"<b>", b" ", b"</s>"], np.array([False, False, True, False]), bos=0, eos=1)
    mapping = build_map(source, pivot, BytePrefix())
    assert mapping.target.tolist() == [2, 3, 1, -1]
    assert trie_of(pivot).token.tolist() == [-1, 1]


@pytest.mark.parametrize("method", [BytePrefix(), Exact(), MinEdit()])
def test_ends_of_turns_are_a_role_of_model_and_template(method):
    """By hand: each end goes to the pivot's of the same place, one that ends both to that of the last turn."""
    words, in_text = [b"a", b"<", b"<x>", b"<y>"], np.array([True, True, False, False])
    pivot = make_table(words, in_text, eos=2, ends=(2, 3))
    for ends, expected in [
        ((3, 2), [3, 2]),
        ((3, 3), [-1, 2]),
        ((None, 2), [3, -1]),
        ((None, None), [-1, -1]),
    ]:
        source = make_table([*words[:2], b"<p>", b"<q>"], in_text, ends=ends)
        target = build_map(source, pivot, method).target.tolist()
        assert target[:2] == [0, 1] and target[2:] == expected, ends
    plain = make_table([b"a", b"\n"], ends=(1, 1))  # a pivot whose turns end with text
    assert build_map(make_table(words, in_text, ends=(3, 3)), plain, method).target[3] == 1


@pytest.mark.parametrize("method", [BytePrefix(), Exact(), MinEdit()])
def test_identity_whatever_the_method(method):
    one = make_table([b"a", b"b", b"ab", b"<c>"], np.array([True, True, True, False]))
    mapping = build_map(one, one, method)
    assert mapping.method == "identity" and mapping.target.tolist() == [0, 1, 2, 3]
    longer = make_table([b"a", b"b", b"ab", b"<d>", b"<e>"], np.array([True, True, True, False, False]))
    assert build_map(longer, one, method).target.tolist() == [0, 1, 2, -1, -1]


def test_maps_are_saved_and_read_back_and_reported():
    source, pivot = make_table([b"a", b"ab", b"ac", b"q"]), make_table([b"a", b"ab"])
    mapping = build_map(source, pivot, BytePrefix())
    again = VocabularyMap.from_arrays(mapping.arrays(), mapping.labels())
    assert (again.target == mapping.target).all() and again.method == "byte_prefix"
    covered = coverage(mapping, source, np.array([0, 0, 0, 3]))
    assert covered.tokens == {"none": 0.25, "exact": 0.5, "prefix": 0.25, "edit": 0.0, "statistics": 0.0}
    assert covered.used == {"none": 0.25, "exact": 0.75, "prefix": 0.0, "edit": 0.0, "statistics": 0.0}
