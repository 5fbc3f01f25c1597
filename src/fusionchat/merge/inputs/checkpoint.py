"""Checkpoints on disk: safetensors headers read and checked, weights memory-mapped, nothing else loaded."""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.files import AGAIN, refuse_pointer, weight_files
from fusionchat.merge.inputs.pickles import open_pickle
from fusionchat.merge.inputs.stored import BITS, MappedFile, Stored

_HEADER_LIMIT = 100_000_000
WRAPPERS = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Put into names by torch.compile, FSDP and activation checkpointing."""


class UnknownTypeError(MergeError):
    """A tensor has a type that cannot be merged; whoever made the type can read it."""


@dataclass
class Checkpoint:
    """A model folder: its weights by name, and its config.

    Attributes:
        folder: Where it lies.
        tensors: Weights in the order in which they lie in the files.
        config: ``config.json``, empty where there is none.
        files: The weight files.
    """

    folder: Path
    tensors: dict[str, Stored]
    config: dict[str, Json]
    files: list[MappedFile] = field(default_factory=list)

    def close(self) -> None:
        """Give all mappings back."""
        for file in self.files:
            file.close()


def open_checkpoint(folder: Path, *, allow_pickle: bool = False) -> Checkpoint:
    """Open a folder's weights, single or sharded, and check every header against its file.

    Args:
        folder: The model folder.
        allow_pickle: Whether weights that are pickles are opened (see `merge.pickles`).

    Raises:
        MergeError: There are no weights, a file is damaged or cut short, or the index points outside the folder,
            at a missing file or at a tensor its file does not hold; or the weights are pickles.
    """
    if not folder.is_dir():
        raise MergeError("This model folder does not exist", where=str(folder), do="check the path")
    paths, wanted, pickled = weight_files(folder)
    if pickled and not allow_pickle:
        raise MergeError(
            "These weights are pickles, which can run code when they are opened",
            where=str(paths[0]),
            do="save the model as safetensors, or allow pickles if you trust it (--allow-pickle)",
        )
    tensors: dict[str, Stored] = {}
    opened = []
    for path in paths:
        if not path.stat().st_size:
            raise MergeError("This file is empty", where=str(path), do=AGAIN)
        refuse_pointer(path)
        file = MappedFile(path)
        opened.append(file)
        for tensor in (open_pickle(file) if pickled else read_header(file)).values():
            if tensor.name in tensors:
                raise MergeError(
                    f"Tensor {tensor.name} is in two files", where=str(path), do="save the model again"
                )
            tensors[tensor.name] = tensor
    for name, path in wanted.items():
        if name not in tensors or tensors[name].file.path != path:
            raise MergeError(
                f"The index names tensor {name}, which the file lacks", where=str(path), do=AGAIN
            )
    return Checkpoint(folder, tensors, read_config(folder), opened)


def unwrapped(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint whose names are the model's, without what torch.compile, FSDP and DDP (``module.``) put into them."""
    parallel = all(name.startswith("module.") for name in checkpoint.tensors)
    plain = {
        name: WRAPPERS.sub("", name.removeprefix("module.") if parallel else name)
        for name in checkpoint.tensors
    }
    if len(set(plain.values())) < len(plain):
        return checkpoint
    tensors = {plain[name]: replace(tensor, name=plain[name]) for name, tensor in checkpoint.tensors.items()}
    return replace(checkpoint, tensors=tensors)


def read_config(folder: Path) -> dict[str, Json]:
    """A folder's ``config.json``, empty where there is none; raises MergeError where it is damaged."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MergeError(f"This file is damaged: {error}", where=str(path), do=AGAIN) from error
    return config if isinstance(config, dict) else {}


def read_header(file: MappedFile) -> dict[str, Stored]:
    """The tensors of one safetensors file in the order in which they lie there; raises MergeError where it is damaged."""
    size = file.size
    with file.path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _HEADER_LIMIT + 1
        if length > min(size - 8, _HEADER_LIMIT):
            raise MergeError("This file is cut short or no safetensors file", where=str(file.path), do=AGAIN)
        text = stream.read(length)
    try:
        header = json.loads(text)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
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


def _entry(file: MappedFile, name: str, entry: Mapping[str, object], base: int) -> Stored:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)):
        raise ValueError(f"tensor {name} has shape {shape!r}")
    if not (
        isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int and n >= 0 for n in offsets)
    ):
        raise ValueError(f"tensor {name} lies at {offsets!r}")
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
    """What is to be said of a type that is not in `BITS`: the library may be newer than the list."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np"):
            return "FusionChat cannot merge: it is a type for quantized weights"
    except (safetensors.SafetensorError, OSError):
        return f"neither FusionChat nor safetensors {safetensors.__version__} knows"
