"""Workers that share a job: each shard is made by whoever takes its lease first."""

import time
from collections.abc import Callable
from pathlib import Path

from fusionchat.artifacts import make_folder
from fusionchat.lease import POLL, Lease
from fusionchat.run.order import lease_path


def shard_lease(run: Path, job_id: str, index: int) -> Path:
    """Where the lease of a job's shard is."""
    return lease_path(run, f"{job_id}/shard-{index}")


def make_shares(
    count: int,
    is_made: Callable[[int], bool],
    make: Callable[[int], None],
    lease_of: Callable[[int], Path],
    *,
    helps: bool,
) -> None:
    """Make shards until none is left that nobody makes; who does not only help waits until all are made.

    A shard whose worker has died is made by another: its lease ends with the worker. Each round looks at every shard once,
    and once more at those whose lease it takes; only what others make meanwhile needs another round.

    Args:
        count: How many shards the job has.
        is_made: Whether a shard is there.
        make: Makes one.
        lease_of: Where the lease of a shard is; its folder is made.
        helps: Whether another process finishes the job. A helper begins at the other end.
    """
    leases: dict[int, Lease] = {}
    while todo := [index for index in range(count) if not is_made(index)]:
        made = 0
        for index in reversed(todo) if helps else todo:
            if index not in leases:
                make_folder(lease_of(index).parent)
                leases[index] = Lease(lease_of(index))
            if leases[index].take() is not None:
                continue
            try:
                if not is_made(index):  # by another, before the lease was taken
                    make(index)
                    made += 1
            finally:
                leases[index].release()
        if helps and not made:
            return
        if not made:
            time.sleep(POLL)
