"""A tensor with some rows replaced."""

import pytest

from fusionchat.merge.inputs.adapters.token_rows import TokenRows
from tests.merge.inputs.sources import numbered, read

BASE, TRAINED = numbered(5, 3), numbered(3, 3, first=100)


@pytest.mark.parametrize("pieces", [1, 2, 7, 15])
def test_rows_are_taken_from_the_trained_ones(pieces):
    """Rows 3, 0 and 1 in this order, read in pieces that begin and end inside rows."""
    made = read(TokenRows(BASE, TRAINED, (3, 0, 1)), pieces)
    expected = BASE.values.copy()
    expected[[3, 0, 1]] = TRAINED.values
    assert made.tolist() == expected.tolist()


@pytest.mark.parametrize("pieces", [1, 4])
def test_new_rows_follow_the_last_one(pieces):
    rows = TokenRows(BASE, TRAINED, (5, 2, 6))
    made = read(rows, pieces)
    assert rows.shape == (7, 3)
    assert made[[5, 2, 6]].tolist() == TRAINED.values.tolist()
    assert made[[0, 1, 3, 4]].tolist() == BASE.values[[0, 1, 3, 4]].tolist()


def test_of_a_token_given_twice_the_last_row_counts():
    made = read(TokenRows(BASE, TRAINED, (1, 1, 4)))
    assert made[1].tolist() == TRAINED.values[1].tolist()


def test_the_pivot_reads_ahead_and_releases_by_itself():
    rows = TokenRows(numbered(5, 3), TRAINED, (3, 0, 1))
    rows.read_ahead(0)
    rows.release()
    assert rows.base.asked == [] and rows.origin == "memory" and rows.is_float
