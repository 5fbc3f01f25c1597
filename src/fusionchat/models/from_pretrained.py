"""The arguments with which transformers opens a model, and what is done to the model it returns."""

import shutil
import tempfile
import weakref
from typing import TYPE_CHECKING, Any, cast

from fusionchat.errors import ModelError
from fusionchat.models.adapter import with_adapter
from fusionchat.models.opening import Opening
from fusionchat.models.quantization import Held, configured, dequantized, keep_odd_layouts
from fusionchat.models.ref import ModelRef

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Asked = dict[str, Any]
"""Arguments of transformers' `from_pretrained`, whatever types it gives them."""
OFFLOAD = "offload_folder"


def placed(
    ref: ModelRef,
    opening: Opening,
    *,
    dtype: "torch.dtype",
    device: "torch.device",
    held: Held | None,
    plain: bool,
) -> Asked:
    """The arguments of `from_pretrained` besides the model: dtype, quantization, and where weights go.

    Args:
        ref: The model.
        opening: As for `load_model`, like the rest.
        dtype: Of plain weights; those that are stored quantized keep their own.
        device: Where they go, unless ``opening`` says it.
        held: The quantization of the stored weights; None for plain ones.
        plain: Whether they are dequantized.

    Raises:
        ModelError: The quantization is not one of transformers', or the weights have one already.
    """
    where = ref.where
    asked: Asked = {"dtype": dtype if held is None else "auto"}
    if opening.quantization is not None:
        if held is not None or ref.place.file is not None:
            raise ModelError(
                f"The weights of {ref.name!r} are already quantized",
                where=f"{where}.capture.quantization",
                do="remove the setting, or use the unquantized model",
            )
        name = str(dtype).removeprefix("torch.")
        asked["quantization_config"] = configured(
            opening.quantization, dtype=name, where=f"{where}.capture.quantization"
        )
    elif held is not None and plain and (config := dequantized(held)) is not None:
        asked["quantization_config"] = config
    if opening.device_map is not None:
        asked |= {"device_map": opening.device_map, OFFLOAD: tempfile.mkdtemp(prefix="fusionchat-offload-")}
        if opening.most is not None:
            asked["max_memory"] = opening.most
    elif device.type != "cpu" or held is not None or opening.quantization is not None:
        asked["device_map"] = {"": device}
    return asked


def finished(
    ref: ModelRef,
    model: "PreTrainedModel",
    missing: list[str],
    asked: Asked,
    *,
    plain: bool,
    dtype: "torch.dtype",
) -> "PreTrainedModel":
    """A model that transformers has opened, completed: with its adapter, plain where asked for.

    Args:
        ref: The model.
        model: The model as it was opened.
        missing: Its parameters that its files lack.
        asked: The result of `placed`.
        plain: Whether its weights are to be plain.
        dtype: The dtype of plain weights.

    Raises:
        ModelError: A GGUF file lacks weights, or the adapter does not fit.
    """
    if OFFLOAD in asked:
        weakref.finalize(model, shutil.rmtree, asked[OFFLOAD], ignore_errors=True)
    if ref.place.file is not None:
        require_all(ref, sorted(missing))
        without_quantizer(model)
    elif plain and getattr(model, "hf_quantizer", None) is not None:
        model = cast("PreTrainedModel", model.dequantize() if is_packed(model) else model)
        without_quantizer(model)
        model = cast("PreTrainedModel", model.to(dtype))  # type: ignore[arg-type]
    keep_odd_layouts(model)
    return with_adapter(ref, model, merged=getattr(model, "hf_quantizer", None) is None)


def is_packed(model: "PreTrainedModel") -> bool:
    """Whether a quantized model still has packed weights; bitsandbytes unpacks only afterwards."""
    return not getattr(getattr(model.config, "quantization_config", None), "dequantize", False)


def require_all(ref: ModelRef, missing: list[str]) -> None:
    """Raise ModelError if a GGUF file lacks weights of its structure."""
    if missing:
        raise ModelError(
            f"The GGUF file of {ref.name!r} lacks {len(missing)} tensors of its structure, such as {missing[0]}",
            where=ref.model,
            do="use the model's folder or hub id instead",
        )


def without_quantizer(model: "PreTrainedModel") -> None:
    """Remove the quantizer from a model whose weights are plain, so that `save_pretrained` accepts it."""
    model.hf_quantizer = None  # type: ignore[assignment]
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
