"""Work on many items at once, in threads that never delay the end of the process."""

from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


def side_by_side(work: Callable[[int], T], items: Sequence[int], threads: int) -> Iterator[tuple[int, T]]:
    """Each item with its result, as they complete; items are begun in order.

    A process waits at its end for the threads of `concurrent.futures`, and one that reads from a socket
    cannot be interrupted: after Ctrl-C these threads would keep the process alive until the server answers.

    Raises:
        Exception: The first that an item's work raises; no item is begun after it.
    """
    todo, done, over = SimpleQueue[int](), SimpleQueue[tuple[int, T | None, Exception | None]](), Event()
    for item in items:
        todo.put(item)

    def serve() -> None:
        while not over.is_set():
            try:
                item = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((item, work(item), None))
            except Exception as error:
                done.put((item, None, error))

    for _ in range(min(threads, len(items))):
        Thread(target=serve, daemon=True).start()
    try:
        for _ in items:
            item, value, error = done.get()
            if error is not None:
                raise error
            yield item, value  # type: ignore[misc]
    finally:
        over.set()
