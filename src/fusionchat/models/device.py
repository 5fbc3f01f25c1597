"""The device that a recipe names, and its memory."""

from typing import TYPE_CHECKING

from fusionchat.devices import parse_device
from fusionchat.errors import MachineError, RecipeError
from fusionchat.units import size

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> "torch.device":
    """The device a recipe's ``runtime.device`` means; raises MachineError if this machine has none."""
    import torch

    if name != "auto":
        if not _is_there(name):
            raise MachineError(
                f"torch finds no device {name!r} on this machine",
                where="runtime.device, or --device of chat",
                do="use auto, cpu, cuda, cuda:N or mps; a GPU needs a torch build that supports it",
            )
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _is_there(name: str) -> bool:
    import torch

    device = parse_device(name)
    if device is not None and device.kind == "cuda":
        return (device.number or 0) < torch.cuda.device_count()
    return name == "cpu" or (name == "mps" and torch.backends.mps.is_available())


def cuda_count() -> int:
    """The number of GPUs of this machine; starts nothing on them."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def cuda_memory() -> int:
    """Bytes of the smallest GPU of this machine."""
    import torch

    return min(
        torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())
    )


def rank_device(name: str, local_rank: int) -> "torch.device":
    """The device of one of the processes that share a training on this machine.

    ``name`` is as for `pick_device`.

    Raises:
        MachineError: There is no GPU for it.
        RecipeError: Several processes cannot share this device.
    """
    import torch

    device = pick_device(name)
    if device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise RecipeError(
            f"Several processes cannot share the device {device}",
            where="runtime.device",
            do="set it to cuda for a GPU each or to cpu, or train in one process",
        )
    if local_rank >= torch.cuda.device_count():
        raise MachineError(
            f"There is no GPU for process {local_rank + 1} on this machine, which has {torch.cuda.device_count()}",
            where="runtime.training.processes, or --nproc-per-node of torchrun",
            do="start one process per GPU",
        )
    return torch.device("cuda", local_rank)


def memory_held(device: "torch.device") -> int:
    """Bytes in use: on a GPU the peak of its tensors so far, on a CPU what this process has now."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    return int(psutil.Process().memory_info().rss)


def memory_used() -> str:
    """The memory that this process uses: ``memory 1.2 GB``, with GPUs ``memory 1.2 GB, GPU 14 GB``.

    The second figure is of all GPUs together.
    """
    import psutil
    import torch

    host = f"memory {size(psutil.Process().memory_info().rss)}"
    if not torch.cuda.is_initialized():
        return host
    held = sum(torch.cuda.memory_reserved(index) for index in range(torch.cuda.device_count()))
    return f"{host}, GPU {size(held)}"
