"""Folders that can be neither pivot nor target: adapters, quantized models."""

from collections.abc import Mapping
from pathlib import Path

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.file import is_adapter
from fusionchat.merge.inputs.checkpoint import Checkpoint
from fusionchat.merge.inputs.stored import Stored

UNQUANTIZED = "use the unquantized model (bfloat16, float16 or float32)"
_WHOLE = ("BOOL", "I64")
"""Types that unquantized models also have, for masks, positions and counts."""


def quantization(config: Mapping[str, Json]) -> str | None:
    """The name of a config's quantization (``gptq``, ``fp8``); None if it has none."""
    settings = config.get("quantization_config") or config.get("compression_config")
    inner = config.get("text_config")
    if settings is None and isinstance(inner, dict):
        return quantization(inner)
    if not isinstance(settings, dict):
        return None
    bits = next((f"{n} bit" for n in (4, 8) if settings.get(f"load_in_{n}bit")), None)
    return str(settings.get("quant_method") or (f"bitsandbytes, {bits}" if bits else "unnamed"))


def refuse_as_pivot(pivot: Checkpoint) -> None:
    """Raise MergeError if a folder is an adapter or quantized."""
    refuse_adapter(pivot.folder)
    refuse_quantized(pivot)


def refuse_adapter(folder: Path) -> None:
    """Raise MergeError if a pivot's folder has an adapter."""
    if is_adapter(folder):
        raise MergeError(
            "The pivot is an adapter, not a model",
            where=str(folder),
            do="make it a model: fusionchat merge --pivot BASE --target ADAPTER --method linear --out DIR",
        )


def refuse_quantized(checkpoint: Checkpoint) -> None:
    """Raise MergeError if a folder's weights are quantized, with the method's name."""
    named = quantization(checkpoint.config)
    odd = next((t for t in checkpoint.tensors.values() if t.is_quantized or (named and _packed(t))), None)
    if odd is not None:
        method = f" ({named})" if named else ""
        raise MergeError(
            f"This model is quantized{method}: tensor {odd.name} is stored as {odd.dtype}",
            where=str(checkpoint.folder),
            do=UNQUANTIZED,
        )


def _packed(tensor: Stored) -> bool:
    return not tensor.is_float and tensor.dtype not in _WHOLE
