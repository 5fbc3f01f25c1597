"""What to do when memory does not suffice: the same again with smaller batches."""

from collections.abc import Callable
from typing import TypeVar

import torch

from fusionchat.console import warn
from fusionchat.errors import MachineError

Result = TypeVar("Result")
SAID = ("can't allocate memory", "not enough memory", "out of memory")
"""How torch says it on a CPU, where it has no exception of its own."""


def with_less(
    make: Callable[[int], Result], batch_tokens: int, *, least: int, label: str
) -> tuple[Result, int]:
    """What ``make`` makes of a number of padded tokens a batch, halved as often as memory asks for; and how often.

    Args:
        make: Makes it; called again after an out-of-memory error.
        batch_tokens: What it is called with first.
        least: With no more than this every batch has one conversation: less would not help.
        label: What is made, for the warning.

    Raises:
        MachineError: Memory does not suffice for one conversation at a time either.
    """
    halved = 0
    while True:
        try:
            return make(batch_tokens), halved
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if batch_tokens <= least:
                raise MachineError(
                    f"Out of memory even with one conversation at a time: {str(error).strip() or type(error).__name__}",
                    where=label,
                    do="free some memory, lower corpus.max_tokens, or open the model otherwise (`capture: {device_map: auto}`, "
                    "`quantization`)",
                ) from error
        # Outside the handler: the error holds the frames, and they hold what is to be freed.
        free()
        halved, batch_tokens = halved + 1, max(batch_tokens // 2, least)
        warn(f"{label}: out of memory; tried again with {batch_tokens} padded tokens in one forward pass")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is one of memory, the host's or a device's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in SAID)


def free() -> None:
    """Give back what torch keeps of a device's memory."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
