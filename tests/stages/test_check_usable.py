"""What each model can use of a sample."""

import pytest

from fusionchat.align.preview import PairPreview
from fusionchat.corpus.conversation import Reject
from fusionchat.errors import CorpusError
from fusionchat.stages.check_usable import TOGETHER, Usable, notes, require_usable, usable


def pair(name, *rejects, said=None, conversations=4):
    """A preview of which only what is rejected matters."""
    held = dict.fromkeys(PairPreview._fields, 0)
    return PairPreview(
        **held | {"name": name, "conversations": conversations, "rejects": list(rejects), "notes": said or {}}
    )


def test_models_that_use_all_are_not_named():
    assert usable([pair("a"), pair("b")]) == []


def test_reasons_are_counted_by_the_model_they_are_true_of():
    found = usable([
        pair("a", Reject("1", "too long", model="a"), Reject("2", "too long", model="a"), Reject("3", "no end", model="a")),
        pair("b"),
    ])  # fmt: skip
    assert found == [Usable("a", 1, 4, {"too long": 2, "no end": 1})]
    assert (
        found[0].few
        and str(found[0]) == "a: can use only 1 of the 4 checked conversations: too long (2), no end (1)"
    )


def test_what_all_can_use_together_may_be_less():
    """The pivot rejects 1, a rejects 2: each can use 3, both together 2."""
    own = Reject("1", "x", model="pivot")
    found = usable([pair("a", own, Reject("2", "y", model="a")), pair("b", own)])
    assert found == [
        Usable("pivot", 3, 4, {"x": 1}), Usable("a", 3, 4, {"y": 1}), Usable(TOGETHER, 2, 4, {"pivot: x": 1, "a: y": 1})
    ]  # fmt: skip
    assert not found[-1].few


def test_a_model_that_can_use_nothing_is_refused():
    nothing = [Usable("pivot", 0, 2, {"x": 2}), Usable("a", 0, 2, {"y": 2})]
    require_usable([Usable("a", 1, 2, {"x": 1})])
    with pytest.raises(CorpusError, match="can use none of the 2") as caught:
        require_usable(nothing)
    assert caught.value.where == "pivot, sources.a"


def test_notes_are_of_the_pair_that_has_most():
    assert notes([pair("a", said={"trims": 2, "dates": 1}), pair("b", said={"trims": 3})]) == {
        "trims": 3,
        "dates": 1,
    }
