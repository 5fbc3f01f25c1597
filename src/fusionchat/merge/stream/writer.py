"""Writing one large file from front to back, with its hash.

The page cache is bypassed if possible. A merge writes each byte once and reads none of it back, so the page
cache would only cost a copy and evict the inputs: it takes 0.2 to 2 s of processor time per GB
(docs/results/merge_cpu.md), 0.05 without it.
"""

import fcntl
import hashlib
import mmap
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

_ALIGN = 4096
_BUFFER = 4 * 2**20
_BUFFERS = 4
_DURABLE_EVERY = 256 * 2**20
_READ = 2**22


class Writer:
    """A file that is being written.

    Hashing and writing have a thread each, so that merging does not wait for them.

    Args:
        path: The file.
        at: Existing bytes to keep; the file is truncated after them.
        durable: Called now and then, from another thread, with the number of bytes that are safely on disk.

    Raises:
        OSError: From any call, even for data of an earlier call.
    """

    def __init__(self, path: Path, at: int = 0, durable: Callable[[int], None] = lambda _: None) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._handle, at)
        self._hash = hash_prefix(path, at)
        self._buffers = [mmap.mmap(-1, _BUFFER) for _ in range(_BUFFERS)]
        self._busy: list[list[Future[None]]] = [[] for _ in range(_BUFFERS)]
        self._current, self._begin = 0, at // _ALIGN * _ALIGN
        self._fill = self._new = at - self._begin  # a partial block is written again, but not hashed again
        self._buffers[0][: self._fill] = os.pread(self._handle, self._fill, self._begin)
        self._durable, self._flushed = durable, at
        self._hasher, self._pen = ThreadPoolExecutor(1, "hash"), ThreadPoolExecutor(1, "write")
        self._direct, self._broken = _set_direct(self._handle, True), False

    @property
    def size(self) -> int:
        """Bytes of the file so far, including those still in flight."""
        return self._begin + self._fill

    def write(self, values: np.ndarray) -> None:
        """Write the next values, which may be overwritten once this returns."""
        data = values.reshape(-1).view(np.uint8).data
        while data:
            taken = min(len(data), _BUFFER - self._fill)
            self._buffers[self._current][self._fill : self._fill + taken] = data[:taken]
            self._fill += taken
            data = data[taken:]
            if self._fill == _BUFFER:
                self._hand_over()

    def finish(self) -> str:
        """Wait until everything is on disk, and close the file; returns its SHA-256."""
        self._hand_over()
        for n in range(_BUFFERS):
            self._wait(n)
        os.fsync(self._handle)
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Stop without finishing the file."""
        if self._handle >= 0:
            self._hasher.shutdown()
            self._pen.shutdown()
            os.close(self._handle)
            self._handle = -1

    def _hand_over(self) -> None:
        """Hand over the current buffer and switch to the next one, once that is free."""
        n, fill = self._current, self._fill
        data = memoryview(self._buffers[n])
        self._busy[n] = [
            self._hasher.submit(self._hash.update, data[self._new : fill]),
            self._pen.submit(self._put, data[:fill], self._begin),
        ]
        self._begin += fill
        self._current, self._fill, self._new = (n + 1) % _BUFFERS, 0, 0
        self._wait(self._current)

    def _wait(self, n: int) -> None:
        busy, self._busy[n] = self._busy[n], []
        for future in busy:
            future.result()

    def _put(self, data: memoryview, at: int) -> None:
        """Write a buffer, unless an earlier one failed: nothing after a hole may count as safe."""
        if self._broken:
            return
        try:
            self._put_whole(data, at)
        except BaseException:
            self._broken = True
            raise

    def _put_whole(self, data: memoryview, at: int) -> None:
        """Write a buffer; all except the last one end at a block boundary."""
        whole = len(data) // _ALIGN * _ALIGN if self._direct else len(data)
        try:
            _write(self._handle, data[:whole], at)
        except OSError:
            if not self._direct:
                raise
            whole = 0  # a file system that does not keep its promise
        if whole < len(data):
            self._direct = _set_direct(self._handle, False)
            _write(self._handle, data[whole:], at + whole)
        end = at + len(data)
        if end - self._flushed >= _DURABLE_EVERY:
            os.fsync(self._handle)
            self._flushed = end
            self._durable(end)


def hash_prefix(path: Path, size: int) -> "hashlib._Hash":
    """The SHA-256 object of a file's first bytes, to continue from."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0:
            data = file.read(min(size, _READ))
            assert data, "the file is shorter than its journal says"
            digest.update(data)
            size -= len(data)
    return digest


def _write(handle: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(handle, data, at)
        data, at = data[written:], at + written


def _set_direct(handle: int, wanted: bool) -> bool:
    """Switch the page cache off or on for a file; returns whether it is off."""
    flag = getattr(os, "O_DIRECT", 0)
    if flag:
        with suppress(OSError):
            flags = fcntl.fcntl(handle, fcntl.F_GETFL)
            fcntl.fcntl(handle, fcntl.F_SETFL, flags | flag if wanted else flags & ~flag)
            return wanted
    return False
