import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.evaluate.choice import draw
from fusionchat.evaluate.choice.draw import (
    divide,
    overlap,
    pools,
    shorten,
    shuffled,
    triples_of,
    wrong_options,
)

WORDS = ("add", "sub", "mul", "div", "mod", "pow", "neg", "inv", "abs", "max", "min", "sum")
TEXTS = [f"return {a} {b}" for a in WORDS for b in WORDS]


def all_wrong(texts, domains, count, seed):
    """The wrong options of every text."""
    held = pools(texts, domains)
    return [wrong_options(t, held[d], count, seed) for t, d in zip(texts, domains, strict=True)]


@pytest.mark.parametrize(
    ("text", "most", "kept"),
    [
        ("two words", 9, "two words"),
        ("two words", 8, "two"),
        ("two words", 4, "two"),
        ("two  words", 5, "two"),
        ("unbroken", 4, "unbr"),
        ("éé é", 5, "éé"),
        ("ééé", 3, "é"),
    ],
)
def test_a_text_is_cut_after_a_whole_word(text, most, kept):
    assert shorten(text, most) == kept


@given(st.text(min_size=1).filter(lambda text: text.strip() == text), st.integers(4, 40))
def test_what_is_cut_begins_the_text_and_is_never_empty_or_too_long(text, most):
    found = shorten(text, most)
    assert text.startswith(found) and found and len(found.encode()) <= most


@pytest.mark.parametrize(
    ("text", "share", "parts"),
    [
        ("one two three four", 0.5, ("one two", " ", "three four")),
        ("a b c d e f\n  g h i", 0.5, ("a b c d e f", "\n  ", "g h i")),
        ("a\nbbbb cccc dddd eeee ffff", 0.5, ("a\nbbbb cccc", " ", "dddd eeee ffff")),
        ("one two", 0.01, ("one", " ", "two")),
        ("one", 0.5, None),
    ],
)
def test_a_text_is_divided_at_a_near_line_else_at_the_nearest_space(text, share, parts):
    assert divide(text, share) == parts


def test_likeness_is_the_share_of_common_triples():
    assert triples_of("ABCd  e") == {"abc", "bcd", "cd ", "d e"} and triples_of("a") == {"a"}
    assert overlap(triples_of("abcd"), triples_of("abce")) == pytest.approx(1 / 3)


def test_wrong_options_are_similar_texts_of_the_same_domain():
    texts = [
        "int x = a + b;",
        "int x = a - c;",
        "int y = a * b;",
        "print it now !",
        "The cat is fat.",
        "The dog is fat.",
    ]
    found = all_wrong(texts, ["code"] * 4 + ["talk"] * 2, 2, seed=1)
    assert set(found[0]) == {"int x = a - c;", "int y = a * b;"}
    assert found[4] == ["The dog is fat."] and found[5] == ["The cat is fat."]


def test_wrong_options_are_never_the_right_one_or_twice_the_same():
    texts = ["Yes, it is.", "yes,  it IS.", "Yes, it is!", "No, it's not", "Perhaps not", "perhaps  not"]
    found = all_wrong(texts, [""] * 6, 3, seed=1)
    assert set(found[0]) == set(found[1]) == {"No, it's not", "Perhaps not"}  # "!" says hardly anything else


@pytest.mark.parametrize(("length", "enough"), [(5, True), (10, True), (20, True), (4, False), (21, False)])
def test_wrong_options_have_at_most_twice_or_half_the_bytes(length, enough):
    assert bool(all_wrong(["a" * 10, "b" * length], ["", ""], 1, seed=1)[0]) == enough


@settings(max_examples=5)
@given(st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_what_is_drawn(random):
    expected = dict(zip(TEXTS, all_wrong(TEXTS, ["code"] * len(TEXTS), 3, seed=5), strict=True))
    mixed = [*TEXTS, *TEXTS[:7]]
    random.shuffle(mixed)
    found = all_wrong(mixed, ["code"] * len(mixed), 3, seed=5)
    assert found == [expected[text] for text in mixed]


def test_another_seed_draws_others():
    domains = ["code"] * len(TEXTS)
    one, other = (all_wrong(TEXTS, domains, 3, seed=seed) for seed in (1, 2))
    assert sum(map(len, one)) == 3 * len(TEXTS) and one != other


def test_the_right_option_is_at_any_place():
    places = []
    for text in TEXTS:
        options, place = shuffled(text, ["x", "y", "z"], seed=1)
        assert options[place] == text and set(options) == {text, "x", "y", "z"}
        places.append(place)
    assert all(places.count(place) > len(TEXTS) / 8 for place in range(4))


def test_keys_are_of_the_texts_as_they_are_divided():
    assert draw.key(1, "ab", "c") == draw.key(1, "ab", "c")
    assert (
        len({draw.key(1, "ab", "c"), draw.key(1, "a", "bc"), draw.key(2, "ab", "c"), draw.key(1, "ab")}) == 4
    )
