"""How pruned changes are added, by hand."""

import numpy as np
import pytest

from fusionchat.merge.methods.base import Block
from fusionchat.merge.methods.tasks import Consensus, Pruned, PruningProgram, per_target

PIVOT = np.array([10.0, 10.0, 10.0, 10.0], np.float32)
CHANGES = np.array([[1.0, -2.0, 4.0, 0.0], [3.0, 1.0, -8.0, 0.0]], np.float32)


def block(kept=None):
    """Two targets; ``kept`` is what pruning leaves of the changes."""
    left = CHANGES if kept is None else CHANGES * kept
    return Block(
        np.stack([PIVOT, *(PIVOT + CHANGES)]), left.astype(np.float32), np.zeros((0, 4), np.float32), 0, 0
    )


def added(kept=None, *, elect=False, normalize=False, rescale=None, by_chance=False, **settings):
    """What `Consensus` adds to a pivot of 10."""
    consensus = Consensus(
        Pruned("none", **settings),
        2,
        elect=elect,
        normalize=normalize,
        rescale_J=rescale,
        by_chance=by_chance,
    )
    out = np.empty(4)
    given = block(kept)
    if by_chance:
        given = given._replace(delta_JB=np.array(kept, np.float32))
    consensus.add(given, out)
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
    assert Consensus(Pruned("none", weight=(1.0, -1.0)), 2, elect=False, normalize=True).divisor == 1
    assert Consensus(Pruned("none", weight=(1.0, 3.0)), 2, elect=False, normalize=True).divisor == 4
    assert Consensus(Pruned("none", weight=(1.0, 3.0)), 2, elect=False, normalize=False).divisor == 1


class OnlyFirst(PruningProgram):
    """Drops the second target."""

    def prune(self, block, state, kept_J):
        block.delta_JB[1] = 0
        kept_J += [4, 0]


def test_a_program_prunes_and_adds():
    kept, out = np.zeros(2, np.int64), np.empty(4)
    program = OnlyFirst(Consensus(Pruned("none"), 2, elect=False, normalize=False))
    program.combine(block(), program.start(0), kept, out)
    assert (out - 10).tolist() == [1, -2, 4, 0] and kept.tolist() == [4, 0]
    with pytest.raises(NotImplementedError):
        PruningProgram(program.consensus).prune(block(), kept, kept)


def test_one_value_per_target():
    assert per_target("density", 0.5, 3).tolist() == [0.5, 0.5, 0.5]
    assert per_target("density", (0.1, 0.2), 2).tolist() == [0.1, 0.2]
    with pytest.raises(ValueError, match="`density` has 2 values for 3 targets"):
        per_target("density", (0.1, 0.2), 3)


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
