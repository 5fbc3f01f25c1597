"""Checkpoints on disk: headers are read and checked, weights memory-mapped, nothing else loaded."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.files import AGAIN, refuse_pointer, weight_files
from fusionchat.merge.inputs.header import read_header
from fusionchat.merge.inputs.pickles import open_pickle
from fusionchat.merge.inputs.stored import MappedFile, Stored

WRAPPERS = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Parts that torch.compile, FSDP and activation checkpointing put into names."""


@dataclass
class Checkpoint:
    """A model folder: its weights by name, and its config.

    Attributes:
        folder: Its path.
        tensors: Weights in the order of the files.
        config: ``config.json``; empty if there is none.
        files: The weight files.
    """

    folder: Path
    tensors: dict[str, Stored]
    config: dict[str, Json]
    files: list[MappedFile] = field(default_factory=list)

    def close(self) -> None:
        """Close all files."""
        for file in self.files:
            file.close()


def open_checkpoint(folder: Path, *, allow_pickle: bool = False) -> Checkpoint:
    """A folder's weights, single or sharded, with every header checked against its file.

    Args:
        folder: The model folder.
        allow_pickle: Whether weights that are pickles are opened (see `merge.pickles`).

    Raises:
        MergeError: There are no weights, a file is damaged or cut short, or the index points outside the
            folder, at a missing file or at a tensor that its file lacks; or the weights are pickles.
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
    """A checkpoint without the names of wrappers: torch.compile, FSDP, DDP (``module.``)."""
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
    """A folder's ``config.json``, empty if there is none; raises MergeError if it is damaged."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MergeError(f"This file is damaged: {error}", where=str(path), do=AGAIN) from error
    return config if isinstance(config, dict) else {}
