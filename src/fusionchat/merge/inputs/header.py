"""The header of a safetensors file (each tensor's place, type and shape), read, checked and written."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.files import AGAIN
from fusionchat.merge.inputs.stored import BITS, MappedFile, Stored

LIMIT = 100_000_000
"""The most bytes of a header that the library reads (safetensors 0.8)."""
METADATA = "__metadata__"


class UnknownTypeError(MergeError):
    """A tensor has a type that cannot be merged and that only its own tool can read."""


def read_header(file: MappedFile) -> dict[str, Stored]:
    """The tensors of one safetensors file in the order of the file; raises MergeError if it is damaged."""
    size = file.size
    with file.path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else LIMIT + 1
        if length > min(size - 8, LIMIT):
            raise MergeError(
                "This file is cut short, or is not a safetensors file", where=str(file.path), do=AGAIN
            )
        text = stream.read(length)
    try:
        header = json.loads(text)
        entries = {name: entry for name, entry in header.items() if name != METADATA}
        spans = [_entry(file, name, entry, 8 + length) for name, entry in entries.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MergeError(f"This file's header is damaged: {error}", where=str(file.path), do=AGAIN) from error
    spans.sort(key=lambda span: (span.begin, span.nbytes))
    at = 8 + length
    for span in spans:
        if span.begin != at:
            raise MergeError(
                f"Tensor {span.name} overlaps another or leaves a gap", where=str(file.path), do=AGAIN
            )
        at += span.nbytes
        if at > size:
            raise MergeError(
                f"This file is cut short: tensor {span.name} is incomplete", where=str(file.path), do=AGAIN
            )
    if at != size:
        raise MergeError("This file has bytes that belong to no tensor", where=str(file.path), do=AGAIN)
    return {span.name: span for span in spans}


def header_bytes(entries: Mapping[str, Json]) -> bytes:
    """The header of a file of PyTorch tensors, with ``dtype``, ``shape`` and ``data_offsets`` by name.

    It is padded with spaces so that the data after it begins at a multiple of 8 bytes.
    """
    text = json.dumps({METADATA: {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _entry(file: MappedFile, name: str, entry: Mapping[str, object], base: int) -> Stored:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)):
        raise ValueError(f"tensor {name} has shape {shape!r}")
    if not (
        isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int and n >= 0 for n in offsets)
    ):
        raise ValueError(f"tensor {name} has the data_offsets {offsets!r}")
    if not isinstance(dtype, str):
        raise ValueError(f"tensor {name} has the unknown type {dtype!r}")
    if dtype not in BITS:
        raise UnknownTypeError(
            f"Tensor {name} has the type {dtype}, which {_who_knows(file.path)}",
            where=str(file.path),
            do="save the model unquantized (bfloat16, float16 or float32)",
        )
    tensor = Stored(name, file, dtype, tuple(shape), base + offsets[0])
    if offsets[1] - offsets[0] != tensor.nbytes:
        raise ValueError(f"tensor {name} takes {offsets[1] - offsets[0]} bytes, not {tensor.nbytes}")
    return tensor


def _who_knows(path: Path) -> str:
    """The message on a type that is not in `BITS`, for which the library may be newer than the list."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np"):
            return "FusionChat cannot merge: it is a type for quantized weights"
    except (safetensors.SafetensorError, OSError):
        return f"neither FusionChat nor safetensors {safetensors.__version__} knows"
