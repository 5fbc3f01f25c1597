"""How pruned changes are added, by hand."""

import numpy as np
import pytest

from fusionchat.merge.methods.checks import weights_for
from fusionchat.merge.methods.largest import Largest
from fusionchat.merge.methods.pruned import Pruned, Sum, keep
from fusionchat.merge.methods.steps import Block

PIVOT = np.array([10.0, 10.0, 10.0, 10.0], np.float32)
CHANGES = np.array([[1.0, -2.0, 4.0, 0.0], [3.0, 1.0, -8.0, 0.0]], np.float32)


def block(kept=None):
    """Two targets; ``kept`` is what pruning leaves of the changes."""
    left = CHANGES if kept is None else CHANGES * kept
    return Block(
        np.stack([PIVOT, *(PIVOT + CHANGES)]), left.astype(np.float32), np.zeros((0, 4), np.float32), 0, 0
    )


def added(kept=None, *, elect=False, normalize=False, rescale=1.0, by_chance=False, **settings):
    """What `Sum` adds to a pivot of 10."""
    weight = weights_for(settings.get("weight"), 2)
    merged = Sum(weight, settings.get("scale", 1.0), elect, normalize, rescale, by_chance)
    out = np.empty(4)
    given = block(kept)
    if by_chance:
        given = given._replace(delta_JB=np.array(kept, np.float32))
    merged.write(given, out)
    return (out - 10).tolist()


def test_all_changes_are_added():
    assert added() == [4, -1, -4, 0]
    assert added(weight=(1.0, 2.0), scale=0.5) == [3.5, 0, -6, 0]
    assert added(normalize=True, weight=(1.0, 3.0)) == [2.5, 0.25, -5, 0]


def test_what_was_dropped_is_not_added():
    assert added([[1, 0, 1, 1], [1, 1, 0, 1]]) == [4, 1, 4, 0]


def test_only_the_elected_sign_counts():
    """Sums 4, -1, -4, 0: the first has both targets, the second the first alone, the third the second alone."""
    assert added(elect=True) == [4, -2, -8, 0]
    assert added(elect=True, normalize=True) == [2, -2, -8, 0]
    assert added(elect=True, normalize=True, weight=(1.0, 3.0)) == [2.5, 1, -8, 0]


def test_changes_are_rescaled_or_divided_by_their_chance():
    assert added(rescale=np.array([2.0, 1.0])) == [5, -3, 0, 0]
    assert added([[0.5, 1, 0, 1], [1, 0.25, 0.5, 1]], by_chance=True) == [5, 2, -16, 0]


def test_weights_that_cancel_are_not_divided_by():
    def divisor(weight, normalize):
        return Sum(np.array(weight), 1.0, elect=False, normalize=normalize).divisor

    assert divisor([1.0, -1.0], True) == 1
    assert divisor([1.0, 3.0], True) == 4
    assert divisor([1.0, 3.0], False) == 1


def test_a_block_is_pruned_then_added():
    """Only the first target's changes are left."""

    def only_first(given, state):
        given.delta_JB[1] = 0
        return [4, 0]

    last, out = Sum(np.ones(2), 1.0, elect=False, normalize=False).after(only_first), np.empty(4)
    assert last.write(block(), last.start(0), out) == [4, 0] and last.ties == ()
    assert (out - 10).tolist() == [1, -2, 4, 0]


def test_what_is_selected_is_kept():
    """Above 2 in the first target, one of the ties at 1 in the second."""
    bits = np.array([2.0, 1.0], np.float32).view(np.uint32).astype(np.int64)
    selected = Largest(bits[:, None], np.array([[2], [1]]), np.array([[1], [1]]))
    given = block()
    assert keep(selected)(given, selected.quota(0)) == [2, 3]
    assert given.delta_JB.tolist() == [[0, -2, 4, 0], [3, 1, -8, 0]]
    last, out = Sum(np.ones(2), 1.0, elect=False, normalize=False).of(selected), np.empty(4)
    assert last.ties == (1, 1) and last.start(0).tolist() == [2, 1]
    assert last.write(block(), last.start(0), out) == [2, 3]
    assert (out - 10).tolist() == [3, -1, -4, 0]


@pytest.mark.parametrize(
    ("settings", "share", "words"),
    [
        ({}, 1.5, "`density` must be between 0 and 1"),
        ({}, (0.5, -0.1), "`density` must be between 0 and 1"),
        ({"weight": (np.nan,)}, 0.5, "finite"),
        ({"scale": np.inf}, 0.5, "finite"),
    ],
)
def test_settings_that_cannot_be_used(settings, share, words):
    Pruned("none").check(density=((0.0, 1.0), 0, 1))
    with pytest.raises(ValueError, match=words):
        Pruned("none", **settings).check(density=(share, 0, 1))
