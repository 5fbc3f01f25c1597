"""Evaluations over the events that all models score: by hand, and through the files they are kept in."""

import numpy as np
import pytest

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.errors import ArtifactError
from fusionchat.evaluate.row_bits import (
    RowBits,
    events_file,
    over_common_events,
    read_events,
    rendered_events,
)
from tests.chat.tiny import make_tokenizer

TALKS = [
    Conversation("a", (Message("user", "hi"), Message("assistant", "héllo"))),  # 6 bytes
    Conversation("b", (Message("assistant", "yes"), Message("user", "so?"), Message("assistant", "no"))),
]


def rendered(*rows):
    """A rendering with rows (turn, begin, end)."""
    turn, begin, end = (np.array(part, np.int32) for part in zip(*rows, strict=True))
    places = np.arange(1, len(rows) + 1, dtype=np.int32)
    return Rendered(np.zeros(len(rows) + 1, np.int32), places, turn, begin, end)


def scores(bits, *talks):
    """What evaluating these renderings leaves, with the bits of every row."""
    events = rendered_events(talks, TALKS)
    missing = sum(c.supervised_bytes for c in TALKS) - int(events.bytes.sum())
    return RowBits(events, np.array(bits, np.float64), missing)


def compared(models):
    """The bits and bytes of each conversation of each model, as they are compared."""
    masks, note = over_common_events(models)
    masks = masks or [None] * len(models)
    return [one.add_up(2, mask) for one, mask in zip(models.values(), masks, strict=True)], note


WHOLE = scores(
    [1, 2, 4, 8, 16, 32, 64],
    rendered((1, -1, 3), (1, 3, 6), (1, 6, 7)),
    rendered((0, 0, 3), (0, 3, 4), (2, 0, 2), (2, 2, 3)),
)  # fmt: skip
OTHER = scores([3, 3, 3, 3, 3], rendered((1, 0, 6), (1, 6, 7)), rendered((0, 0, 4), (2, 0, 2), (2, 2, 3)))
NO_BOS = scores(
    [1, 1, 1, 1, 1, 1], rendered((1, 0, 3), (1, 3, 6), (1, 6, 7)), rendered((0, 3, 4), (2, 0, 2), (2, 2, 3))
)
NO_ENDS = scores([5, 5, 5], rendered((1, 0, 6)), rendered((0, 0, 3), (2, 0, 2)))


def test_models_that_score_the_same_are_left_as_they_are():
    assert over_common_events({"pivot": WHOLE, "other": OTHER}) == (None, "")
    bits, sizes = WHOLE.add_up(2)
    assert sizes.tolist() == [6, 5] and bits.tolist() == [7, 120] and WHOLE.unscored == 0


def test_the_first_token_without_a_row_leaves_all_models():
    """Turn 0 of b: the model without bos has no row for its 3 bytes; what is left of b are 2 bytes and two ends."""
    found, note = compared({"pivot": WHOLE, "source": NO_BOS})
    assert [bits.tolist() for bits, _ in found] == [[7, 16 + 32 + 64], [3, 3]]
    assert [sizes.tolist() for _, sizes in found] == [[6, 2], [6, 2]]
    assert "8 of 11 bytes" in note and "3 of 3 ends of turns" in note
    assert "source has no score of 3 bytes." in note and "pivot" not in note


def test_a_token_that_ends_the_turn_leaves_with_what_it_covers():
    """OTHER's row 0..4 of turn 0 has the 3 bytes and the end; a model without ends scores that turn's bytes only."""
    found, note = compared({"pivot": WHOLE, "source": OTHER, "plain": NO_ENDS})
    assert [bits.tolist() for bits, _ in found] == [[1 + 2, 32], [3, 3], [5, 5]]
    assert all(sizes.tolist() == [6, 2] for _, sizes in found)
    assert "plain has no score of 3 ends of turns." in note


def test_nothing_in_common_is_said_and_nothing_is_divided_by_zero():
    ends = scores([1, 1], rendered((1, 6, 7)), rendered((2, 2, 3)))
    found, note = over_common_events({"a": NO_ENDS, "b": ends})
    assert found is None
    assert "no text in common" in note


def test_events_are_kept_bit_for_bit(tmp_path):
    (tmp_path / "events.safetensors").write_bytes(events_file(WHOLE.events, WHOLE.bits_N))
    events, bits = read_events(tmp_path)
    for mine, kept in zip((*WHOLE.events, WHOLE.bits_N), (*events, bits), strict=True):
        assert mine.dtype == kept.dtype and (mine == kept).all()
    file = tmp_path / "events.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ArtifactError, match="damaged"):
        read_events(tmp_path)


BARE = "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>{% endif %}{{ m.content }}{% endfor %}"
"""No bos, and no end of an answer that nothing follows."""


def shown(conversation, template=None):
    tokenizer = make_tokenizer()
    one = Renderer(tokenizer, template=template).render(conversation)
    assert isinstance(one, Rendered), one
    return rendered_events([one], [conversation])


def test_real_templates_that_leave_out_a_first_token_and_an_end():
    """The bare template begins with the answer, whose first token nothing predicts, and ends with one without an end."""
    talk = Conversation(
        "x", (Message("assistant", "hello there"), Message("user", "how?"), Message("assistant", "the cat"))
    )
    whole, bare = shown(talk), shown(talk, BARE)
    assert whole.bytes.sum() == talk.supervised_bytes == 18 and whole.ends == 2
    assert bare.ends == 1 and 18 - bare.bytes.sum() == bare.begin[0] > 0
    models = {
        name: RowBits(events, np.ones(len(events.turn)), 18 - int(events.bytes.sum()))
        for name, events in (("pivot", whole), ("bare", bare))
    }
    masks, note = over_common_events(models)
    found = [one.add_up(1, mask) for one, mask in zip(models.values(), masks, strict=True)]
    assert found[0][1] == found[1][1] == bare.bytes.sum()
    assert found[0][0] == found[1][0] == len(bare.turn)  # the tokenizers are equal, so the rows are
    assert f"bare has no score of {bare.begin[0]} bytes and 1 end of turn" in note


def test_turns_that_bear_no_loss_are_in_no_denominator():
    said = (Message("user", "hi"), Message("assistant", "hello there", train=False), Message("user", "how?"))
    talk = Conversation("x", (*said, Message("assistant", "the cat")))
    events = shown(talk)
    assert events.bytes.sum() == talk.supervised_bytes == 7 and set(events.turn.tolist()) == {3}


def test_a_cut_turn_has_no_end():
    talk = Conversation("x", (Message("user", "hi"), Message("assistant", "the ca", complete=False)))
    events = shown(talk)
    assert events.bytes.sum() == 6 and events.ends == 0
