"""Drawing a share: by seed, by domain, whatever the order of the file."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.shares import apportion, draw


def talks(count, domain=lambda i: ""):
    return [
        Conversation(f"c{i}", (Message("user", f"q{i}"), Message("assistant", f"a{i}")), domain(i))
        for i in range(count)
    ]


def test_a_sorted_corpus_gives_every_domain_its_share():
    corpus = talks(1000, lambda i: "code" if i < 700 else "math" if i < 950 else "zh")
    drawn = draw(corpus, 40, seed=0, part="test")
    assert Counter(corpus[i].domain for i in drawn) == {"code": 28, "math": 10, "zh": 2}
    places = [i for i in drawn if i < 700]
    assert min(places) < 100 and max(places) > 600  # nor from one end of a domain


def test_the_draw_follows_seed_and_part_but_not_the_order_of_the_file():
    corpus = talks(200)
    drawn = [corpus[i].id for i in draw(corpus, 20, seed=0, part="test")]
    assert drawn == [corpus[i].id for i in draw(corpus, 20, seed=0, part="test")]
    assert sorted(drawn) == sorted(corpus[::-1][i].id for i in draw(corpus[::-1], 20, seed=0, part="test"))
    for other in (draw(corpus, 20, seed=1, part="test"), draw(corpus, 20, seed=0, part="validation")):
        assert len(other) == 20 and len({corpus[i].id for i in other} & set(drawn)) < 10


def test_a_repeated_conversation_is_drawn_once_while_others_are_left():
    corpus = talks(5) * 4
    assert sorted(corpus[i].id for i in draw(corpus, 5, seed=0, part="test")) == [f"c{i}" for i in range(5)]
    assert len(draw(corpus, 12, seed=0, part="test")) == 12


@given(
    st.dictionaries(st.text(max_size=3), st.integers(1, 300), min_size=1, max_size=12), st.integers(1, 400)
)
def test_quotas_add_up_and_are_within_one_of_the_exact_share(counts, size):
    quotas, total = apportion(counts, size, "0 test"), sum(counts.values())
    assert sum(quotas.values()) == min(size, total)
    assert all(abs(quotas[name] - min(size, total) * counts[name] / total) < 1 for name in counts)
