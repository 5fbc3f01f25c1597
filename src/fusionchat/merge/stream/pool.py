"""Threads whose results come in the order of the calls, a few ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class OrderedPool:
    """Runs calls on threads and yields their results in the order of the calls.

    At most ``threads + 2`` calls are running or waiting for their turn, which bounds the memory.
    With one thread, a call is made when its result is needed, in the caller's thread.

    Args:
        threads: The number of threads.
        stack: Ends the threads.
    """

    def __init__(self, threads: int, stack: ExitStack) -> None:
        self.threads = threads
        self._pool = stack.enter_context(ThreadPoolExecutor(threads, "merge")) if threads > 1 else None

    def run(self, calls: Iterable[Callable[[], T]]) -> Iterator[T]:
        """The results in order; ``calls`` may use the pool itself while it makes the next call."""
        if self._pool is None:
            for call in calls:
                yield call()
            return
        ahead = deque[Future[T]]()
        for call in calls:
            ahead.append(self._pool.submit(call))
            if len(ahead) > self.threads + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def map(self, function: Callable[[int], T], count: int) -> Iterator[T]:
        """The results of a function for 0 .. count - 1, in order."""
        return self.run(partial(function, n) for n in range(count))


def here(function: Callable[[int], T], count: int) -> Iterator[T]:
    """`OrderedPool.map` in this thread."""
    return map(function, range(count))
