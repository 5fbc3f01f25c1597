"""The processes that share a training: how they meet, and part."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from fusionchat.errors import MachineError

PATIENCE = timedelta(hours=2)
"""How long a process waits for another: one that has ended is seen sooner, and rank 0 may read or write for long."""


def join(device: torch.device) -> None:
    """Meet the other processes of the world that this one was started in; does nothing alone or when they have met.

    Raises:
        MachineError: They cannot meet.
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
    """End what `join` began; nothing may be exchanged any more."""
    if dist.is_initialized():
        dist.destroy_process_group()


def place() -> tuple[int, int]:
    """This process's rank, and how many processes have met."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def wait_for_all() -> None:
    """Wait until every process of the training is here."""
    if dist.is_initialized():
        dist.barrier()


def unreachable(error: Exception) -> MachineError:
    """The error of processes that do not find each other."""
    return MachineError(
        f"The training processes cannot connect: {str(error).splitlines()[0]}",
        where=f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}",
        do="if the port is in use, set another MASTER_PORT (torchrun: --master-port); else check that every machine "
        "reaches this address",
    )
