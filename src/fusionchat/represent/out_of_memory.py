"""What to do when memory runs out: try again with smaller batches."""

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
    """The result of ``make`` for a number of padded tokens a batch, and how often that was halved.

    It is halved after every out-of-memory error.

    Args:
        make: Called with padded tokens a batch, and again after an out-of-memory error.
        batch_tokens: The number of the first call.
        least: With at most this number every batch has one conversation, so less would not help.
        label: What is made, for the warning.

    Raises:
        MachineError: There is not enough memory even for one conversation at a time.
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
                    do="free some memory, lower corpus.max_tokens, or open the model differently (`capture: {device_map: auto}`, "
                    "`quantization`)",
                ) from error
        # Outside the handler: the error references the frames, and they reference what is to be freed.
        free()
        halved, batch_tokens = halved + 1, max(batch_tokens // 2, least)
        warn(f"{label}: out of memory; tried again with {batch_tokens} padded tokens in one forward pass")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that the host or a device is out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in SAID)


def free() -> None:
    """Release the device memory that torch caches."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
