"""What each model scores a unit, and over which rows it is compared, on spans and log-probabilities written by hand."""

import numpy as np
import pytest

from fusionchat.fuse.rules.mean_ce import MeanCE
from fusionchat.fuse.rules.min_ce import MinCE
from fusionchat.fuse.scores import score_rows, score_units, unit_of_row
from fusionchat.represent.events import events_of
from tests.build import lengths, make_scored, moved


def bits(*values):
    """Log-probabilities that cost these numbers of bits."""
    return -np.array(values) * np.log(2)


@pytest.mark.parametrize(
    ("per", "expected"), [("conversation", [0, 0, 1]), ("turn", [1, 3, 4 + 2]), ("token", [0, 1, 2])]
)
def test_the_unit_of_a_row(per, expected):
    """Two rows in turns 1 and 3 of conversation 0, one in turn 2 of conversation 1; conversations have up to 4 turns."""
    pivot = make_scored(0, [2, 1], turn=[1, 3, 2])
    events = events_of(pivot.tokens, np.full((2, 4), 9, np.int32))
    assert unit_of_row(events, per, turns=4).tolist() == expected


def test_a_conversation_s_bits_are_divided_by_its_bytes():
    """Conversation 0: 3 + 5 bits over 4 bytes. Conversation 1: one row of 6 bits, 2 bytes."""
    pivot = make_scored(0, [2, 1], label_logprob=bits(3, 5, 6), width=2)
    scored = score_units([pivot], MinCE(), lengths(pivot))
    np.testing.assert_allclose(scored.ce, [[2, 3]], rtol=1e-6)
    assert scored.shared.all()


def test_turns_are_scored_apart():
    pivot = make_scored(0, [2], label_logprob=bits(3, 5), turn=[1, 1])
    pivot = moved(pivot, [0, 0], [1, 1], turn=[1, 3])
    ce = score_units([pivot], MinCE(per="turn"), np.array([[0, 1, 0, 1]])).ce
    np.testing.assert_allclose(ce, [[np.nan, 3, np.nan, 5]], rtol=1e-6)


def test_only_what_all_models_tile_is_compared():
    """Bytes 0 | 1 | 2 of the pivot, 1 2 of the source: byte 0 is the pivot's alone, and counts for nobody."""
    pivot = make_scored(0, [3], label_logprob=bits(100, 1, 2))
    source = moved(make_scored(1, [1], label_logprob=bits(7)), [1], [3])
    scored = score_units([pivot, source], MinCE(), lengths(pivot))
    np.testing.assert_allclose(scored.ce, [[3 / 2], [7 / 2]], rtol=1e-6)
    assert scored.shared.tolist() == [False, True, True]


def test_a_model_without_a_common_region_is_not_compared_in_that_unit():
    """The source scores conversation 0 only, so the pivot is alone in conversation 1."""
    pivot = make_scored(0, [1, 1], label_logprob=bits(1, 2))
    source = make_scored(1, [1, 0], label_logprob=bits(4))
    scored = score_units([pivot, source], MinCE(), lengths(pivot))
    np.testing.assert_allclose(scored.ce, [[1, 2], [4, np.nan]], rtol=1e-6)
    assert scored.shared.tolist() == [True, False]


def test_bits_per_byte_do_not_favour_the_finer_tokenizer():
    # The same 4 bytes: the pivot has 2 tokens, the source 4 of half the nats and a little more in total.
    pivot = make_scored(0, [2], label_logprob=[-1, -1], width=2)
    source = make_scored(1, [4], label_logprob=[-0.6] * 4, width=1)
    per_byte = score_units([pivot, source], MinCE(), lengths(pivot)).ce[:, 0]
    per_token = score_units([pivot, source], MinCE(unit="nats_per_token"), lengths(pivot)).ce[:, 0]
    assert per_byte[0] < per_byte[1] and per_token[0] > per_token[1]
    assert per_byte[0] == pytest.approx(2 / np.log(2) / 4)


@pytest.mark.parametrize("rule", [MinCE(per="token"), MeanCE(per="token")])
def test_per_token_an_end_of_turn_is_compared_in_bits(rule):
    """Rows: bytes 0..3 (4 bytes), the end of turn (none). CE in bits per byte: 8 / 4 and 3 against 4 / 4 and 6."""
    pivot = make_scored(0, [2], label_logprob=np.array([-8, -3]) * np.log(2))
    pivot = moved(pivot, [0, 4], [4, 5])
    source = pivot._replace(label_logprob=(np.array([-4, -6]) * np.log(2)).astype(np.float32))
    ce = score_rows([pivot, source], rule, np.array([[0, 4]])).ce
    np.testing.assert_allclose(ce, [[2, 3], [1, 6]], rtol=1e-6)


def test_an_unaligned_row_has_no_score_and_is_not_shared():
    pivot = make_scored(0, [2], label_logprob=bits(1, 2))
    source = make_scored(1, [2], label_logprob=[*bits(3), np.nan], present=[True, False])
    scored = score_rows([pivot, source], MinCE(per="token"), lengths(pivot))
    np.testing.assert_allclose(scored.ce, [[1, 2], [3, np.nan]], rtol=1e-6)
    assert scored.shared.tolist() == [True, False]
