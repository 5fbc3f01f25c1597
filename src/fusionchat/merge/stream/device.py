"""Where a merge's arithmetic is done: on the CPU with numpy and compiled loops, or on a device with PyTorch.

Either place gives scratch memory of one thread, brings inputs there, and takes results back. The arrays that carry
results from thread to thread are used again as well (`Spare`).
"""

# B elements of a block

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionchat.errors import MachineError, MergeError
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.stored import Stored
from fusionchat.merge.kernels.blocks import BLOCK

if TYPE_CHECKING:
    import torch

DEVICE = re.compile(r"cpu|(?P<kind>cuda|xpu)(:\d+)?")
"""Names that `place_of` knows."""
Array = Any
"""A numpy array, or a PyTorch tensor on a device."""
_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_RESULTS = {"float32": "float32", "float16": "float16", "uint16": "bfloat16"}


class Scratch(threading.local):
    """Arrays of one thread, made when they are first needed."""

    def __init__(self, make: Callable[[tuple[int, int], str], Array]) -> None:
        self.make = make
        self.arrays: dict[str, Array] = {}

    def get(self, name: str, rows: int, size: int, kind: str) -> Array:
        """An array of at least this size, cut to it; its content is left from before."""
        held = self.arrays.get(name)
        if held is None or held.shape[0] < rows or held.shape[1] < size:
            held = self.arrays[name] = self.make((max(rows, 1), max(size, BLOCK)), kind)
        if size == held.shape[1]:
            return held[:rows]
        return held.reshape(-1)[: rows * size].reshape(rows, size)


class Spare:
    """Arrays that go from thread to thread and are used again: memory that is new costs a page fault every 4 KB."""

    def __init__(self) -> None:
        self._free: deque[np.ndarray] = deque()
        self._lent: dict[int, np.ndarray] = {}

    def take(self, size: int, kind: np.dtype[Any]) -> np.ndarray:
        """An array; its content is left from before. Buffers that are too small make room for larger ones."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = np.empty(0, np.uint8)
        need = size * kind.itemsize
        if buffer.size < need:
            buffer = np.empty(need, np.uint8)
        array = buffer[:need].view(kind)
        self._lent[id(array)] = buffer
        return array

    def give(self, array: np.ndarray) -> None:
        """Take back an array that nobody needs any more; one that is not from here is left alone."""
        buffer = self._lent.pop(id(array), None)
        if buffer is not None:
            self._free.append(buffer)


class Host:
    """The CPU: blocks decoded straight from the files."""

    whole_chunks = False

    def __init__(self) -> None:
        self.get = Scratch(np.empty).get

    def load(self, source: Source, begin: int, out_B: Array, step: int) -> None:
        """Write a source's elements from ``begin`` on as float32."""
        source.decode(begin, out_B)

    def result(self, raw_B: np.ndarray) -> Array:
        """Where to store values that are to end up in ``raw_B``."""
        return raw_B

    def fetch(self, made_B: Array, raw_B: np.ndarray) -> None:
        """Bring them there."""

    def errors(self) -> AbstractContextManager[None]:
        """Turns the place's own errors into the package's."""
        return nullcontext()


class Accelerator:
    """A PyTorch device: a block is a whole chunk, so that launches are few; its memory is bounded by threads x chunk.

    Tensors of a file go there as they are, through a staging buffer that is pinned for CUDA, and are widened
    there. All other sources are worked out on the host, in the host's blocks, so that their bytes are the same.

    Args:
        device: The device; it must have float64.
    """

    whole_chunks = True

    def __init__(self, device: "torch.device") -> None:
        self.device = device
        self.get = Scratch(self._make).get
        self._staged = Scratch(self._pinned).get

    def _make(self, shape: tuple[int, int], kind: str) -> "torch.Tensor":
        import torch

        return torch.empty(shape, dtype=getattr(torch, kind), device=self.device)

    def _pinned(self, shape: tuple[int, int], kind: str) -> "torch.Tensor":
        import torch

        return torch.empty(shape, dtype=getattr(torch, kind), pin_memory=self.device.type == "cuda")

    def _stage(self, size: int, kind: str) -> "torch.Tensor":
        """The staging buffer as elements of a type. Copies block, so one a thread is enough."""
        import torch

        dtype: torch.dtype = getattr(torch, kind)
        buffer: torch.Tensor = self._staged("staged", 1, size * dtype.itemsize, "uint8")[0]
        return buffer.view(dtype)

    def load(self, source: Source, begin: int, out_B: Array, step: int) -> None:
        """Write a source's elements from ``begin`` on as float32; ``step`` is the host's block."""
        size = len(out_B)
        if isinstance(source, Stored):
            staged_B = self._stage(size, _TYPES[source.dtype])
            _bytes_of(staged_B)[:] = source.values[begin : begin + size].view(np.uint8)
        else:
            staged_B = self._stage(size, "float32")
            host_B = staged_B.numpy()
            for at in range(0, size, step):
                source.decode(begin + at, host_B[at : at + step])
        out_B.copy_(staged_B.to(self.device))  # in two steps: one would widen on the host

    def result(self, raw_B: np.ndarray) -> Array:
        """Where to store values that are to end up in ``raw_B``."""
        return self.get("made", 1, raw_B.size, _RESULTS[raw_B.dtype.name])[0]

    def fetch(self, made_B: Array, raw_B: np.ndarray) -> None:
        """Bring them there."""
        staged_B = self._stage(raw_B.size, _RESULTS[raw_B.dtype.name])
        staged_B.copy_(made_B)
        raw_B.view(np.uint8)[:] = _bytes_of(staged_B)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns the place's own errors into the package's."""
        import torch

        try:
            yield
        except torch.OutOfMemoryError as error:
            raise MachineError(
                f"The memory of {self.device} is full",
                do="use fewer threads (each holds a few chunks there), free some of it, or use device: cpu",
            ) from error


def _bytes_of(staged_B: "torch.Tensor") -> np.ndarray:
    import torch

    made: np.ndarray = staged_B.view(torch.uint8).numpy()
    return made


Place = Host | Accelerator
HOST = Host()


def place_of(name: str) -> Place:
    """The place with this name: ``cpu``, ``cuda``, ``cuda:N``, ``xpu`` or ``xpu:N``. ``cpu`` does not import PyTorch.

    Raises:
        MergeError: It is unknown, not there, or has no float64.
    """
    if name == "cpu":
        return HOST
    if name.startswith("mps"):
        raise MergeError(
            "A merge cannot run on mps, which has no float64", where=f"device {name}", do="use device: cpu"
        )
    found = DEVICE.fullmatch(name)
    if found is None:
        raise MergeError(f"There is no device {name!r}", do="use cpu, cuda, cuda:N or xpu")
    import torch

    device, backend = torch.device(name), getattr(torch, found["kind"])
    if not backend.is_available() or (device.index or 0) >= backend.device_count():
        raise MergeError(
            f"There is no device {name} here that PyTorch {torch.__version__} can use",
            do="use device: cpu, or install its driver and the PyTorch build for it",
        )
    try:
        torch.ones(2, dtype=torch.float64, device=device).sum().item()
    except RuntimeError as error:
        raise MergeError(f"Device {name} cannot compute in float64: {error}", do="use device: cpu") from error
    return Accelerator(device)
