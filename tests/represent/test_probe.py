"""The probe: which conversations, how far a backend is from transformers, and what is an error."""

import numpy as np
import pytest

from fusionchat.corpus.rendered_part import join
from fusionchat.errors import ModelError
from fusionchat.represent.plain import Plain
from fusionchat.represent.probe import (
    CONVERSATIONS,
    SHORT,
    Difference,
    Probe,
    bound_of,
    choose,
    compare,
    describe,
    look_up,
    require_close,
)
from fusionchat.represent.topk import Scored, TopK
from tests.represent.test_forward import conversation

TOKENS = join([conversation(3, 1, 4)]).supervised


def test_short_conversations_are_drawn_and_the_shortest_of_the_others_fill_up():
    lengths = np.full(100, SHORT)
    lengths[::2] = SHORT + 1
    chosen = choose(lengths)
    assert (
        len(set(chosen)) == CONVERSATIONS and all(index % 2 for index in chosen) and chosen == sorted(chosen)
    )
    assert choose(lengths) == chosen and chosen != list(range(1, 32, 2))
    lengths = np.array([900, 40, 800, 50] + [1000] * 20)
    assert {0, 1, 2, 3} < set(choose(lengths)) and len(choose(lengths)) == CONVERSATIONS
    assert choose(np.array([9, 9])) == [0, 1]


def plain(*rows):
    """Rows of {id: log-probability}, and the labels' -1 and -2."""
    ids = np.array([list(row) for row in rows], np.int32)
    logprobs = np.array([list(row.values()) for row in rows], np.float32)
    return Plain(np.array([-1.0, -2.0], np.float32), ids, logprobs)


def scored(labels, ids, logprobs):
    topk = TopK(
        np.array(ids, np.int32), np.array(logprobs, np.float16), np.zeros(2, np.float16), np.ones(2, bool)
    )
    return Scored(TOKENS, topk, np.array(labels, np.float32))


PLAIN = plain({5: -0.5, 7: -1.5, 9: -3.0}, {1: -0.25, 2: -2.0, 3: -4.0})


def test_the_same_is_no_difference():
    label, kept = compare(PLAIN, scored([-1, -2], [[5, 7], [1, 2]], [[-0.5, -1.5], [-0.25, -2]]))
    assert (label.mean, label.worst, kept.mean, kept.worst) == (0, 0, 0, 0)


def test_labels_are_compared():
    label, _ = compare(PLAIN, scored([-1, -2.5], [[5, 7], [1, 2]], [[-0.5, -1.5], [-0.25, -2]]))
    assert (label.mean, label.worst) == (0.25, 0.5)


def test_a_token_that_was_missed_shows_in_its_rank():
    _, kept = compare(PLAIN, scored([-1, -2], [[5, 9], [1, 2]], [[-0.5, -3.0], [-0.25, -2]]))
    assert (kept.mean, kept.worst) == (1.5 / 4, 1.5)


def test_a_wrong_id_shows_in_its_own_probability():
    _, kept = compare(PLAIN, scored([-1, -2], [[5, 8], [1, 2]], [[-0.5, -1.5], [-0.25, -2]]))
    assert kept.worst == 1.5  # token 8 is no candidate: at most -3


def test_empty_slots_do_not_count():
    _, kept = compare(PLAIN, scored([-1, -2], [[5, 0], [1, 2]], [[-0.5, -np.inf], [-0.25, -2]]))
    assert kept.worst == 0


def test_ids_are_looked_up_row_by_row():
    found = look_up(PLAIN, np.array([[9, 1], [3, 100]], np.int32))
    np.testing.assert_array_equal(found, [[-3.0, -3.0], [-4.0, -4.0]])


def made(**changes):
    return Probe(**({"conversations": 16, "tokens": 9, "bits_per_byte": 1.0, "bound": 0.01} | changes))


def judged(probe):
    require_close(probe, backend="vllm", place="sources.a.capture")


SMALL, LARGE = Difference(mean=0.005, worst=9.0), Difference(mean=0.02, worst=0.03)


def test_what_is_within_its_bound_passes_whatever_its_bits():
    judged(made(label=SMALL, kept=SMALL, bits_per_byte=7.0))


@pytest.mark.parametrize(
    ("label", "kept"), [(LARGE, SMALL), (SMALL, LARGE), (Difference(mean=float("nan"), worst=0), SMALL)]
)
def test_what_is_past_it_is_an_error_that_names_the_backend(label, kept):
    with pytest.raises(ModelError, match="The backend vllm disagrees with transformers") as caught:
        judged(made(label=label, kept=kept))
    assert caught.value.where == "sources.a.capture"


def test_without_transformers_more_than_two_bits_are_an_error():
    judged(made(bits_per_byte=1.99, unchecked="its weights are not here"))
    for bits in (2.01, float("nan")):
        with pytest.raises(ModelError, match=r"bits per byte.*its weights are not here"):
            judged(made(bits_per_byte=bits, unchecked="its weights are not here"))


def test_the_bound_is_by_dtype_or_the_recipes():
    assert [bound_of(name, None) for name in ("float32", "bfloat16", "nf4")] == [0.001, 0.1, 0.3]
    assert bound_of("float32", 0.5) == 0.5


def test_in_words():
    assert describe(made(label=SMALL, kept=SMALL)) == "0.005 nats from transformers on average, 9 at most"
    assert describe(made(unchecked="no weights")) == "1.00 bits per byte; not compared: no weights"
