"""LoRA adapters as targets: applied to the pivot while its tensors are read, never written out."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from fusionchat.errors import MergeError
from fusionchat.merge.checkpoint import Checkpoint, read_header
from fusionchat.merge.stored import MappedFile, Stored

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_MODEL = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
_PREFIX = "base_model.model."
_FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.[\w-]+)?(?:\.weight)?$"
)


@dataclass(frozen=True)
class Adapted:
    """A tensor of the pivot with a low-rank change: ``base + scale * B @ A``, or its transpose.

    Attributes:
        base: The pivot's tensor, [out, in] (or [in, out] where transposed).
        down_RI: A, float32.
        up_OR: B, float32.
        scale: alpha / r, or alpha / sqrt(r).
        transposed: Whether the tensor is stored as [in, out].
        file: The adapter's file, for messages.
    """

    base: Stored
    down_RI: Float32[np.ndarray, "R I"]
    up_OR: Float32[np.ndarray, "O R"]
    scale: float
    transposed: bool
    file: MappedFile

    is_float = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, the pivot's."""
        return self.base.shape

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return str(self.file.path)

    def decode(self, begin: int, out_B: Float32[np.ndarray, " B"]) -> None:
        """Write the elements from ``begin`` on as float32."""
        self.base.decode(begin, out_B)
        width = self.shape[1]
        first, last = begin // width, -(-(begin + out_B.size) // width)
        left, right = (self.down_RI.T, self.up_OR.T) if self.transposed else (self.up_OR, self.down_RI)
        change = (left[first:last] @ right).reshape(-1)
        out_B += np.float32(self.scale) * change[begin - first * width :][: out_B.size]

    def read_ahead(self, begin: int) -> None:
        """Nothing: the pivot's own tensor is read at the same time."""

    def release(self) -> None:
        """Nothing: the pivot's own tensor is released by itself."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a LoRA adapter and no model's weights; many hold their model's config."""
    if not (folder / CONFIG).is_file():
        return False
    held = {path.name for kind in _MODEL for path in folder.glob(kind)}
    return not held - {WEIGHTS}


def open_adapter(folder: Path, pivot: Checkpoint) -> tuple[dict[str, Adapted | Stored], MappedFile]:
    """The pivot's tensors with an adapter applied, by name, and the adapter's file.

    Modules that were trained in full (``modules_to_save``) and biases replace the pivot's.

    Raises:
        MergeError: The adapter is no LoRA, or a kind that is not supported (DoRA), or does not fit the pivot.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MergeError(
            f"This adapter's config is damaged: {error}", where=str(folder / CONFIG), do="save it again"
        ) from error
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        raise MergeError(
            f"Only plain LoRA adapters can be merged, not {'DoRA' if config.get('use_dora') else config.get('peft_type')}",
            where=str(folder / CONFIG),
            do="merge the adapter into a full model first (peft's merge_and_unload)",
        )
    path = folder / WEIGHTS
    if not path.is_file():
        raise MergeError("The adapter has no weights in safetensors", where=str(path), do="save it again")
    file = MappedFile(path)
    tensors: dict[str, Adapted | Stored] = dict(pivot.tensors)
    factors: dict[str, dict[str, Stored]] = {}
    for stored in read_header(file).values():
        found = _FACTOR.fullmatch(stored.name)
        if found:
            kind = "embedding" if found["embedding"] else "linear"
            factors.setdefault(f"{found['module']}\n{kind}", {})[found["side"]] = stored
            continue
        name = _plain(stored.name)
        if name not in pivot.tensors or pivot.tensors[name].shape != stored.shape:
            raise MergeError(
                f"The adapter's tensor {stored.name} does not fit the pivot",
                where=str(path),
                do="use its own base model",
            )
        tensors[name] = stored
    for key, pair in factors.items():
        module, kind = key.split("\n")
        name = _plain(f"{module}.weight")
        tensors[name] = _adapted(name, kind == "embedding", pair, config, pivot, file)
    return tensors, file


def _plain(name: str) -> str:
    """A parameter's name in the model, from its name in an adapter's file."""
    return name.removeprefix(_PREFIX).replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")


def _adapted(
    name: str,
    embedding: bool,
    pair: Mapping[str, Stored],
    config: Mapping[str, object],
    pivot: Checkpoint,
    file: MappedFile,
) -> Adapted:
    base = pivot.tensors.get(name)
    if base is None or set(pair) != {"A", "B"} or len(base.shape) != 2:
        raise MergeError(
            f"The adapter changes {name}, which the pivot does not have as a matrix, or lacks a factor of it",
            where=str(file.path),
            do="use the adapter's own base model as pivot",
        )
    down, up = _matrix(pair["A"]), _matrix(pair["B"])
    transposed = embedding or bool(config.get("fan_in_fan_out"))
    want = base.shape[::-1] if transposed else base.shape
    if (up.shape[0], down.shape[1]) != want or up.shape[1] != down.shape[0]:
        raise MergeError(
            f"The adapter's factors of {name}, {list(up.shape)} x {list(down.shape)}, do not make its {list(base.shape)}",
            where=str(file.path),
            do="use the adapter's own base model as pivot",
        )
    rank = down.shape[0]
    alpha = _pattern(config.get("alpha_pattern"), name, config.get("lora_alpha"), file)
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Adapted(base, down, up, scale, transposed, file)


def _pattern(patterns: object, name: str, default: object, file: MappedFile) -> float:
    """A module's own value where a pattern (a regular expression for the end of its name) has one."""
    module = name.removesuffix(".weight")
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return float(value)
    if not isinstance(default, int | float):
        raise MergeError(
            "The adapter's config lacks lora_alpha", where=str(file.path), do="save the adapter again"
        )
    return float(default)


def _matrix(stored: Stored) -> Float32[np.ndarray, "A B"]:
    values = np.empty(stored.count, np.float32)
    if not stored.is_float:
        raise MergeError(
            f"Tensor {stored.name} is no floating-point tensor", where=stored.origin, do="save it unquantized"
        )
    stored.decode(0, values)
    return values.reshape(stored.shape)
