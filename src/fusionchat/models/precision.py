"""Dtypes by name, and what ``auto`` means on this machine."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionchat.errors import MachineError

if TYPE_CHECKING:
    import torch

NATIVE_BF16 = 8
"""The least major compute capability of an NVIDIA GPU with bfloat16; older ones emulate it slowly."""


SMALL = 20_000_000
"""Parameters below which a capture on a CPU stays in float32.

bfloat16 is faster there, too (two to three times with AVX-512 BF16 at 0.6 to 40 million parameters), but it
is minutes either way, and a small run is then the same on every processor. For the same reason its products
stay PyTorch's own (`Head.by_onednn`).
"""


def device_here(device: str) -> str:
    """A recipe's ``runtime.device`` on this machine, with ``auto`` resolved."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_here(device: str) -> str:
    """The dtype that ``auto`` means for a recipe's ``runtime.device`` on this machine.

    It is float32 on a CPU, and bfloat16 on a GPU that has it. A named GPU that does not exist counts as one
    that has it, because a run may be planned on another machine.
    """
    import torch

    device = device_here(device)
    if device == "cpu":
        return "float32"
    if device == "mps" or not torch.cuda.is_available():
        return "bfloat16"
    index = torch.device(device).index
    if index is not None and index >= torch.cuda.device_count():
        return "bfloat16"
    return "bfloat16" if torch.cuda.get_device_capability(index)[0] >= NATIVE_BF16 else "float32"


def capture_dtype_here(device: str, parameters: Iterable[int | None]) -> str:
    """The dtype that ``auto`` means for a capture: as `dtype_here`, but bfloat16 on a capable CPU.

    A CPU is capable with AMX or AVX-512 BF16. It uses float32 all the same where every model is known to have
    fewer than `SMALL` parameters.
    """
    from fusionchat.models.logits import cpu_multiplies_bf16

    sizes = list(parameters)
    small = bool(sizes) and all(size is not None and size < SMALL for size in sizes)
    if device_here(device) == "cpu" and not small and cpu_multiplies_bf16():
        return "bfloat16"
    return dtype_here(device)


def auto_dtype(device: "torch.device") -> "torch.dtype":
    """The dtype that ``auto`` means on a device of this machine, outside a run."""
    import torch

    dtype: torch.dtype = getattr(torch, dtype_here(str(device)))
    return dtype


def torch_dtype(name: str, device: "torch.device", *, where: str) -> "torch.dtype":
    """A dtype by its name, tested on the device.

    Raises:
        MachineError: The device cannot compute in it.
    """
    import torch

    dtype: torch.dtype = getattr(torch, name)
    try:
        one = torch.ones(2, 2, dtype=dtype, device=device)
        float((one @ one).softmax(-1).sum())
    except (RuntimeError, TypeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise MachineError(
            f"This machine's {device.type} cannot compute in {name}",
            where=where,
            do=f"use another one (--set {where}={'fp32' if where == 'distill.precision' else 'float32'}); "
            "jobs that depend on it then run again; or continue the run on a machine that can",
        ) from error
    return dtype
