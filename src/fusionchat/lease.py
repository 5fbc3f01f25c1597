"""Leases: which process works on a folder, on one machine or on many that share a file system.

    with lease(folder / ".lease"):                   # waits only while the holder may be alive
        ...
    # HeldError: Another process is working on this run (pid 123 on host a, since 2026-11-28 10:02)

    mine = Lease(folder / ".shard-7.lease")          # for workers that look for the next piece of work
    holder = mine.take()                             # None: it is ours now; else who has it (ask again later)
    mine.release()

A lease is a small file with the holder's pid and host (filelock's `SoftFileLease`: made with O_EXCL, taken
over by an exchange of names), touched every `EXPIRES` / 3 seconds by a thread. It ends

- when its holder releases it, or ends without doing so and the next process of the same host asks: at once (a
  killed child counts as running until its parent has waited for it);
- for processes of other hosts, which cannot see the holder's pid: when they have seen no touch for `EXPIRES`
  seconds of their own clock, so that clocks that differ do no harm.

Reading who holds it (`holder`) removes nothing. Leases are advisory, not a fence: a holder whose host was
suspended for longer than `EXPIRES` continues beside its successor. That is harmless where leases are used,
because both write the same bits under names of their own and rename them (`artifacts.atomic_path`);
`Lease.lost` is for holders that would rather stop.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from fusionchat.console import warn
from fusionchat.errors import FusionChatError
from fusionchat.host import this_host

EXPIRES = 60.0  # seconds; compiled kernels can delay the touching thread for some of them
POLL = 0.5


class Holder(NamedTuple):
    """Who holds a lease.

    Attributes:
        pid: The process; 0 if the file does not say (it is being written, or was cut off by a crash).
        host: Its host as in `host.this_host`; "" if the file does not say.
        since: Unix time at which it was taken; None if the file does not say.
        touched: When the file was touched last, in nanoseconds of the file server's clock; compare only for
            equality.
    """

    pid: int
    host: str
    since: float | None
    touched: int

    def __str__(self) -> str:
        """As in "pid 123 on host a, since 2026-11-28 10:02"."""
        if not self.pid:
            return "unknown"
        since = (
            "" if self.since is None else time.strftime(", since %Y-%m-%d %H:%M", time.localtime(self.since))
        )
        return f"pid {self.pid} on host {self.host or 'unknown'}{since}"


class HeldError(FusionChatError):
    """Another process holds a lease.

    Args:
        what: The first sentence of the error, such as "Another process is working on this run".
        path: The lease's file.
        holder: Who holds it.
    """

    def __init__(self, what: str, *, path: Path, holder: Holder) -> None:
        self.path, self.holder = path, holder
        do = "wait for it, or stop it first" if holder.pid else "if there is none, remove this file"
        super().__init__(f"{what} ({holder})", where=str(path if not holder.pid else path.parent), do=do)


class Lease:
    """The right to work on something, kept alive by a thread from `take` to `release`.

    Use the same object to ask again: it remembers how long the present holder has shown no sign of life.
    Every process must use the same ``expires`` for a path.

    Attributes:
        path: Its file; the folder must exist.
    """

    def __init__(self, path: Path, *, expires: float = EXPIRES) -> None:
        self.path, self.expires = path, expires
        # Not thread-local: work and release may be in different threads.
        self._lease = SoftFileLease(path, lease_duration=expires, thread_local=False)

    def take(self) -> Holder | None:
        """None if the lease is ours now, else its holder; does not wait."""
        for _ in range(2):  # if names cannot be exchanged, the first try removes a dead holder's file
            try:
                self._lease.acquire(blocking=False)
            except (Timeout, LeaseSettingsMismatch):
                other = holder(self.path)
                if other is not None:
                    return other
            else:
                self._sign()
                return None
        return Holder(0, "", None, 0)

    def take_or_wait(self, waiting: Callable[[Holder], None] | None = None) -> Holder | None:
        """As `take`, but watches a holder of another host for up to ``expires`` seconds for a sign of life.

        Args:
            waiting: Called once, before the wait.
        """
        first = other = self.take()
        deadline = time.monotonic() + self.expires + 2 * POLL
        while first is not None and other is not None and time.monotonic() < deadline:
            if other.host == this_host() or (other.pid and other.touched != first.touched):
                return other
            if waiting is not None:
                waiting(other)
                waiting = None
            time.sleep(min(POLL, self.expires / 10))
            other = self.take()
        return other

    def release(self) -> None:
        """Let others take it; does nothing if another process has it by now."""
        self._lease.release(force=True)

    @property
    def lost(self) -> bool:
        """Whether another process has taken it since `take`, because ours could not touch it in time."""
        return self._lease.compromise is not None

    def _sign(self) -> None:
        """Add the time and our name for this host; filelock ignores keys that it does not know."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"place={this_host()}\nsince={time.time():.3f}\n")
                file.flush()
                os.fsync(file.fileno())  # a file left empty by a power cut would be held for ever
        except BaseException:
            self.release()
            raise


def holder(path: Path) -> Holder | None:
    """Who holds a lease; None if nobody does. The file is only read.

    A holder that died without releasing it is still named here; only `Lease.take` detects that.
    """
    try:
        text, touched = path.read_text(encoding="utf-8", errors="replace"), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    said = dict(line.partition("=")[::2] for line in text.splitlines())
    pid, since = said.get("pid", ""), said.get("since", "")
    return Holder(
        int(pid) if pid.isdecimal() else 0,
        said.get("place", ""),
        float(since) if since.replace(".", "", 1).isdecimal() else None,
        touched,
    )


@contextmanager
def lease(
    path: Path, what: str = "Another process is working on this run", *, expires: float = EXPIRES
) -> Iterator[Lease]:
    """Hold a lease while the block runs.

    Args:
        path: Its file; the folder must exist.
        what: The error's first sentence.
        expires: Seconds without a sign of life after which other hosts may take it.

    Raises:
        HeldError: Another process holds it.
    """
    mine = Lease(path, expires=expires)

    def waiting(other: Holder) -> None:
        warn(f"{what} ({other}), unless that one died: waiting up to {expires:.0f} s to find out")

    other = mine.take_or_wait(waiting)
    if other is not None:
        raise HeldError(what, path=path, holder=other)
    try:
        yield mine
    finally:
        mine.release()
