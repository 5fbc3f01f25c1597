"""Dtypes by name, and what ``auto`` is on this machine."""

from typing import TYPE_CHECKING

from fusionchat.errors import MachineError

if TYPE_CHECKING:
    import torch

NATIVE_BF16 = 8
"""The least major compute capability of an NVIDIA GPU that has bfloat16 (before, it is emulated and slow)."""


def dtype_here(device: str) -> str:
    """What ``auto`` is for a recipe's ``runtime.device`` on this machine.

    It is float32 on a CPU, and bfloat16 on a GPU that has it. A GPU that is named and not there counts as one that has:
    the plan of a run may be looked at elsewhere.
    """
    import torch

    if device == "auto":
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    if device == "cpu":
        return "float32"
    if device == "mps" or not torch.cuda.is_available():
        return "bfloat16"
    index = torch.device(device).index
    if index is not None and index >= torch.cuda.device_count():
        return "bfloat16"
    return "bfloat16" if torch.cuda.get_device_capability(index)[0] >= NATIVE_BF16 else "float32"


def auto_dtype(device: "torch.device") -> "torch.dtype":
    """What ``auto`` is on a device of this machine, where there is no run that keeps it."""
    import torch

    dtype: torch.dtype = getattr(torch, dtype_here(str(device)))
    return dtype


def torch_dtype(name: str, device: "torch.device", *, where: str) -> "torch.dtype":
    """A dtype by its name, tried on the device.

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
            do=f"give another one (--set {where}={'fp32' if where == 'distill.precision' else 'float32'}); "
            "what depends on it is then made again. Or continue the run on a machine that can",
        ) from error
    return dtype
