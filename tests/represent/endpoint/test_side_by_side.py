"""Items are worked on side by side, all of them once; the first error ends it."""

import threading
import time

import pytest

from fusionchat.represent.endpoint.side_by_side import side_by_side


def test_every_item_once_with_its_own_result():
    found = dict(side_by_side(lambda i: i * i, range(100), 7))
    assert found == {i: i * i for i in range(100)}
    assert dict(side_by_side(lambda i: i, [], 3)) == {}


def test_as_many_at_once_as_asked():
    together = threading.Barrier(4, timeout=5)  # breaks unless four are there at once
    assert len(list(side_by_side(lambda _: together.wait(), range(8), 4))) == 8


def test_the_first_error_is_raised_and_nothing_is_begun_after_it():
    begun = []

    def work(item):
        begun.append(item)
        if item == 1:
            raise ValueError("one")
        time.sleep(0.01)

    with pytest.raises(ValueError, match="one"):
        list(side_by_side(work, range(1000), 2))
    time.sleep(0.05)
    assert len(begun) < 100
