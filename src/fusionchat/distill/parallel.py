"""The processes that share a training: how they connect and disconnect."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from fusionchat.errors import MachineError

PATIENCE = timedelta(hours=2)
"""How long a process waits for another.

A process that has ended is noticed sooner, but rank 0 may read or write for long.
"""


def join(device: torch.device) -> None:
    """Connect to the other processes of the world that this one was started in.

    Does nothing if there is no other or if they are connected already.

    Raises:
        MachineError: They cannot connect.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) == 1 or dist.is_initialized():
        return
    cuda = device.type == "cuda"
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE, device_id=device if cuda else None
        )
    except dist.DistError as error:
        raise unreachable(error) from error


def part() -> None:
    """Disconnect after `join`; nothing can be exchanged any more."""
    if dist.is_initialized():
        dist.destroy_process_group()


def place() -> tuple[int, int]:
    """This process's rank, and the number of connected processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def wait_for_all() -> None:
    """Wait until every process of the training has reached this call."""
    if dist.is_initialized():
        dist.barrier()


def unreachable(error: Exception) -> MachineError:
    """The error of processes that cannot reach each other."""
    return MachineError(
        f"The training processes cannot connect: {str(error).splitlines()[0]}",
        where=f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}",
        do="if the port is in use, set another MASTER_PORT (torchrun: --master-port); else check that every machine "
        "reaches this address",
    )
