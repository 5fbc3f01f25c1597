"""Results in the order of the calls, a bounded number ahead."""

import threading
from contextlib import ExitStack
from functools import partial

import pytest

from fusionchat.merge.stream.pool import OrderedPool, here


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_calls(threads):
    with ExitStack() as stack:
        pool = OrderedPool(threads, stack)
        assert list(pool.map(lambda n: n * n, 50)) == [n * n for n in range(50)]
        assert list(pool.run([])) == []


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (3, 5)])
def test_no_more_calls_are_made_than_the_bound(threads, ahead):
    begun = []

    def calls():
        for n in range(20):
            begun.append(n)
            yield partial(int, n)

    with ExitStack() as stack:
        results = OrderedPool(threads, stack).run(calls())
        for taken in range(20):
            assert next(results) == taken
            assert len(begun) <= taken + ahead


def test_making_a_call_may_use_the_pool():
    with ExitStack() as stack:
        pool = OrderedPool(2, stack)

        def calls():
            for n in range(5):
                total = sum(pool.map(lambda k: k, n + 1))
                yield partial(int, total)

        assert list(pool.run(calls())) == [0, 1, 3, 6, 10]


def test_an_error_of_a_call_is_raised_at_its_turn():
    def fail():
        raise ValueError("here")

    with ExitStack() as stack:
        results = OrderedPool(2, stack).run([lambda: 1, fail])
        assert next(results) == 1
        with pytest.raises(ValueError, match="here"):
            next(results)


def test_calls_are_made_by_threads_or_here():
    with ExitStack() as stack:
        (name,) = OrderedPool(2, stack).map(lambda _: threading.current_thread().name, 1)
        assert name.startswith("merge")
        (name,) = OrderedPool(1, stack).map(lambda _: threading.current_thread().name, 1)
    assert name == threading.current_thread().name == next(iter(here(lambda _: name, 1)))
