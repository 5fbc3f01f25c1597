"""Workers that share a job: whoever takes a shard's lease first makes the shard."""

import time
from collections.abc import Callable
from pathlib import Path

from fusionchat.artifacts import make_folder
from fusionchat.lease import POLL, Lease
from fusionchat.run.order import lease_path

SLOW, LEAST_WAIT = 3.0, 30.0
"""When another worker counts as slow: times the longest of our own shards, and seconds at least."""


def shard_lease(run: Path, job_id: str, index: int) -> Path:
    """The file of the lease of a job's shard."""
    return lease_path(run, f"{job_id}/shard-{index}")


def make_shares(
    count: int,
    is_made: Callable[[int], bool],
    make: Callable[[int], None],
    lease_of: Callable[[int], Path],
    *,
    helps: bool,
) -> None:
    """Make shards until every one is made or being made; a process that does not only help waits for all.

    If a worker dies, its lease ends, and another makes the shard. If one is slow, the process that waits for
    all makes its shard, too (`SLOW`); ``make`` must not replace a shard that exists by the time it is done.
    Each round looks at every shard once, and once more at those whose lease it takes; only shards that others
    are making need another round.

    Args:
        count: The number of shards.
        is_made: Whether a shard exists.
        make: Makes one.
        lease_of: The file of a shard's lease; its folder is created.
        helps: Whether another process finishes the job. A helper begins at the other end.
    """
    leases: dict[int, Lease] = {}
    longest, waits = 0.0, time.monotonic()
    while todo := [index for index in range(count) if not is_made(index)]:
        made = 0
        for index in reversed(todo) if helps else todo:
            if index not in leases:
                make_folder(lease_of(index).parent)
                leases[index] = Lease(lease_of(index))
            if leases[index].take() is not None:
                continue
            try:
                if not is_made(index):  # another may have made it before the lease was taken
                    begun = time.monotonic()
                    make(index)
                    waits = time.monotonic()
                    longest, made = max(longest, waits - begun), made + 1
            finally:
                leases[index].release()
        if helps and not made:
            return
        if not made and longest and time.monotonic() - waits > max(LEAST_WAIT, SLOW * longest):
            make(todo[0])  # whoever has it is slow: both may write it, with the same bits
            waits = time.monotonic()
        elif not made:
            time.sleep(POLL)
