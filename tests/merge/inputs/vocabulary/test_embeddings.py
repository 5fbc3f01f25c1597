"""Rows of vocabulary tensors, brought together by token."""

import json

import numpy as np
import pytest

from fusionchat.merge.inputs.vocabulary.embeddings import Mean, Rows, align_rows, regather, with_added
from fusionchat.merge.inputs.vocabulary.files import Vocabulary
from tests.merge.inputs.sources import numbered, read

SOURCE, OTHER = numbered(5, 3), numbered(8, 3, first=100)


def vocabulary(*tokens, added=()):
    """Tokens in rows 0, 1, ...; those in ``added`` are added tokens."""
    ids = {text: row for row, text in enumerate(tokens) if text}
    return Vocabulary(ids, {text: {"id": ids[text], "content": text, "special": True} for text in added})


@pytest.mark.parametrize("pieces", [1, 2, 7, 24])
def test_rows_come_from_where_they_are(pieces):
    """Runs of rows that follow each other, a jump back, and two rows that only the fallback has."""
    rows = Rows(SOURCE, np.array([2, 3, 4, 0, -1, -1, 1, 2]), OTHER)
    expected = SOURCE.values[[2, 3, 4, 0, 0, 0, 1, 2]]
    expected[4:6] = OTHER.values[4:6]
    assert rows.shape == (8, 3) and read(rows, pieces).tolist() == expected.tolist()


def test_only_the_source_is_released():
    source = numbered(2, 3)
    rows = Rows(source, np.array([1, 0]), None)
    rows.read_ahead(0)
    rows.release()
    assert source.asked == ["release"] and rows.origin == "memory"
    with pytest.raises(AssertionError):
        read(Rows(source, np.array([-1]), None))


@pytest.mark.parametrize("pieces", [1, 4])
def test_a_mean_is_over_the_inputs_that_have_the_row(pieces):
    one, two = numbered(3, 2), numbered(3, 2, first=10)
    mean = Mean((one, two), np.array([[True, True, False], [True, False, False]]))
    expected = np.stack([(one.values[0] + two.values[0]) / 2, one.values[1], [0, 0]])
    assert mean.shape == (3, 2) and read(mean, pieces).tolist() == expected.tolist()
    mean.read_ahead(0)
    mean.release()
    assert one.asked == [] and mean.origin == "memory"


def test_rows_meet_by_token_and_padding_by_position():
    mine = Vocabulary({"a": 0, "b": 1, "<x>": 2}, {"<x>": {"content": "<x>"}})
    theirs = Vocabulary({"a": 0, "<x>": 1, "b": 2}, {"<x>": {"content": "<x>"}})
    alignment = align_rows(5, [6], mine, [theirs], union=False)
    np.testing.assert_array_equal(alignment.target_JR[0], [0, 2, 1, 3, 4])
    np.testing.assert_array_equal(
        align_rows(5, [3], None, [None], union=False).target_JR[0], [0, 1, 2, -1, -1]
    )
    with pytest.raises(ValueError, match="not an added token"):
        align_rows(5, [6], mine, [Vocabulary({"new": 0}, {})], union=True)
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        align_rows(5, [6], mine, [None], union=True)


def test_a_union_adds_what_targets_added_in_their_order():
    """The pivot has 3 tokens in 4 rows; <y> and <x> come from the first target in the order of its rows, <z> from the second."""
    pivot = vocabulary("a", "b", "<s>", added=["<s>"])
    one = vocabulary("a", "b", "<y>", "<x>", "<s>", added=["<s>", "<x>", "<y>"])
    two = vocabulary("a", "b", "<s>", "<x>", "<z>", added=["<s>", "<x>", "<z>"])
    found = align_rows(4, [5, 5], pivot, [one, two], union=True)
    assert found.rows == 6
    assert found.pivot_R.tolist() == [0, 1, 2, -1, -1, -1]
    assert [row.tolist() for row in found.target_JR] == [[0, 1, 4, 2, 3, -1], [0, 1, 2, -1, 3, 4]]
    assert [(entry["content"], entry["id"]) for entry in found.added] == [("<y>", 3), ("<x>", 4), ("<z>", 5)]
    assert found.added[0]["special"] is True


def test_a_union_of_equal_vocabularies_adds_nothing():
    pivot = vocabulary("a", "b")
    found = align_rows(4, [4], pivot, [pivot], union=True)
    assert (found.rows, found.added, found.target_JR[0].tolist()) == (4, (), [0, 1, 2, 3])


def test_tensors_are_gathered_row_by_row():
    """The target has the tokens of rows 1 and 2 exchanged; row 3 is new, and the pivot's part of it the target's."""
    pivot, target = numbered(3, 2), numbered(4, 2, first=10)
    mine = vocabulary("a", "b", "c")
    theirs = vocabulary("a", "c", "b", "<x>", added=["<x>"])
    base, gathered = regather(align_rows(3, [4], mine, [theirs], union=True), pivot, [target])
    assert read(base).tolist() == [*pivot.values.tolist(), target.values[3].tolist()]
    assert read(gathered).tolist() == target.values[[0, 2, 1, 3]].tolist()


def test_what_a_target_lacks_is_the_pivot_s():
    pivot, target = numbered(3, 2), numbered(2, 2, first=10)
    base, gathered = regather(align_rows(3, [2], None, [None], union=False), pivot, [target])
    assert base is pivot
    assert read(gathered).tolist() == [*target.values.tolist(), pivot.values[2].tolist()]


def test_tensors_that_fit_stay_as_they_are():
    pivot, target = numbered(3, 2), numbered(3, 2, first=10)
    assert regather(align_rows(3, [3], None, [None], union=False), pivot, [target]) == (pivot, target)


@pytest.mark.parametrize(
    "held", [{}, {"added_tokens": None}, {"added_tokens": [{"id": 0, "content": "<s>"}]}]
)
def test_a_tokenizer_gets_more_added_tokens(tmp_path, held):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"vocab": {}}, **held}))
    new = {"id": 1, "content": "<x>"}
    made = with_added(path, [new])
    assert made["added_tokens"] == [*(held.get("added_tokens") or []), new] and made["model"] == {"vocab": {}}
