import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.demo.world import ZIPF, Turn, World, checked

WORDS = ("a", "b", "c", "d", "e")


def draws(world, *context, count=20_000):
    rng = random.Random(1)
    return Counter(world.pick(rng, "slot", WORDS, *context) for _ in range(count))


def test_a_taste_is_a_zipf_law():
    shares = [count / 20_000 for _, count in draws(World(0), "sea").most_common()]
    weights = [(rank + 1) ** -ZIPF for rank in range(len(WORDS))]
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - weight / sum(weights)) < 0.015


def test_tastes_differ_by_context_and_seed():
    favourites = {tuple(w for w, _ in draws(World(0), str(c), count=2000).most_common()) for c in range(8)}
    assert len(favourites) > 4
    assert draws(World(0), "x") != draws(World(1), "x") or draws(World(0), "y") != draws(World(1), "y")


@given(st.integers(), st.text(), st.lists(st.integers(), min_size=1, max_size=9))
@settings(max_examples=50)
def test_pick_and_fact_stay_within_the_options(seed, context, options):
    world = World(seed)
    assert world.pick(random.Random(0), "slot", options, context) in options
    assert world.fact("slot", options, context) == World(seed).fact("slot", options, context) in options


def test_the_order_of_questions_does_not_change_a_fact():
    one, other = World(5), World(5)
    asked = [one.fact("founder", WORDS, town) for town in "ABCDEFGH"]
    assert asked == [other.fact("founder", WORDS, town) for town in reversed("ABCDEFGH")][::-1]


def test_checked_puts_the_answer_last():
    assert Turn("q", checked("Well.", "7"), "7").assistant == "Well.\nAnswer: 7"
