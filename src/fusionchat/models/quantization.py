"""Quantized models: stored that way, or quantized when they are loaded.

Methods and settings have transformers' names, and transformers itself reports what this machine lacks for
one.
"""

import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from fusionchat.errors import ModelError
from fusionchat.hub import cached_folder
from fusionchat.models.opening import METHOD
from fusionchat.models.ready import first_line
from fusionchat.models.ref import ModelRef
from fusionchat.settings import meant

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.quantizers.base import HfQuantizer
    from transformers.utils.quantization_config import QuantizationConfigMixin

Held = Mapping[str, JsonValue]
BITSANDBYTES = "bitsandbytes"
COMPUTE = "bnb_4bit_compute_dtype"
BITS = ("bits", "w_bit", "nbits", "num_bits")
NAMED_BITS = {
    "fp8": 8,
    "mxfp8": 8,
    "mxfp4": 4,
    "nvfp4": 4,
    "fbgemm_fp8": 8,
    "bitsandbytes_4bit": 4,
    "bitsandbytes_8bit": 8,
}
"""Bits of the methods whose names imply them."""
INSTALL = "pip install 'fusionchat[quant]' has bitsandbytes; other methods need their own packages"


def held_quantization(ref: ModelRef) -> Held | None:
    """The ``quantization_config`` in a model's config.json; None without one, or if not on this machine."""
    place = ref.place
    folder = None if place.file is not None else cached_folder(place)
    path = None if folder is None else folder / "config.json"
    if path is None or not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        held = config.get("quantization_config") or config.get("text_config", {}).get("quantization_config")
    except (ValueError, AttributeError, OSError):  # loading reports what is wrong with it
        return None
    return held if isinstance(held, dict) and held else None


def describe(held: Held) -> str:
    """A method and its bits: ``gptq 4 bit``, ``bitsandbytes nf4``, ``fp8``."""
    method = str(held.get(METHOD) or held.get("quant_algo") or "an unnamed method")
    kind = held.get("bnb_4bit_quant_type")
    if held.get("load_in_4bit") or held.get("load_in_8bit"):
        return f"{method} {kind or 'fp4' if held.get('load_in_4bit') else '8 bit'}"
    bits = next((held[name] for name in BITS if isinstance(held.get(name), int)), None)
    return method if bits is None else f"{method} {bits} bit"


def bits_of(held: Held) -> int | None:
    """Bits of a weight; None if the settings do not say."""
    if held.get("load_in_4bit") or held.get("load_in_8bit"):
        return 4 if held.get("load_in_4bit") else 8
    found = next((value for name in BITS if isinstance(value := held.get(name), int)), None)
    return found if found is not None else NAMED_BITS.get(str(held.get(METHOD)))


def methods() -> dict[str, type["QuantizationConfigMixin"]]:
    """transformers' configuration classes by their ``quant_method``."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    known = {name: kind for name, kind in AUTO_QUANTIZATION_CONFIG_MAPPING.items() if name != "gguf"}
    return known | {BITSANDBYTES: known["bitsandbytes_4bit"]}


def quantizer_of(method: str) -> type["HfQuantizer"]:
    """transformers' class that quantizes with a method of `methods`."""
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    known = cast("dict[str, type[HfQuantizer]]", AUTO_QUANTIZER_MAPPING)
    return known["bitsandbytes_4bit" if method == BITSANDBYTES else method]


def configured(wanted: Held, *, dtype: str, where: str) -> "QuantizationConfigMixin":
    """A recipe's `quantization` as transformers takes it.

    Args:
        wanted: The method and its settings.
        dtype: The dtype in which bitsandbytes computes 4-bit layers, unless the settings say it.
        where: Its path in the recipe.

    Raises:
        ModelError: There is no such method or setting, the method cannot quantize by itself, a package is
            missing, or a value is wrong.
    """
    given = {name: value for name, value in wanted.items() if name != METHOD}
    method, known = str(wanted[METHOD]), methods()
    kind = known.get(method)
    if kind is None:
        raise ModelError(
            f"transformers has no quantization method {method!r}{meant(method, list(known))}",
            where=where,
            do=f"use one of {', '.join(sorted(known))}",
        )
    names = settings_of(kind)
    for name in given:
        if name not in names:
            raise ModelError(
                f"The quantization method {method} has no setting {name!r}{meant(name, names)}",
                where=where,
                do=f"use some of {', '.join(names)}",
            )
    if quantizer_of(method).requires_calibration:
        raise ModelError(
            f"transformers can open weights that are stored in {method}, but cannot quantize with it",
            where=where,
            do="remove the setting and use a model that is stored in it, or use another method, such as bitsandbytes",
        )
    if method in ("bitsandbytes_4bit", "bitsandbytes_8bit"):
        given |= {f"load_in_{method.removeprefix('bitsandbytes_')}": True}
    if COMPUTE in names and given.get("load_in_4bit") and COMPUTE not in given:
        given[COMPUTE] = dtype
    try:
        return kind(**given)  # type: ignore[arg-type]
    except Exception as error:  # every method has its own
        raise ModelError(
            f"The quantization method {method} cannot be set up: {first_line(error)}", where=where, do=INSTALL
        ) from error


def settings_of(kind: type["QuantizationConfigMixin"]) -> list[str]:
    """The names of a method's settings."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in parameters if one.kind in plain and one.name not in ("self", METHOD)]


def lacks(held: Held, *, stored: bool = True) -> str:
    """What this machine lacks to load a quantized model, in transformers' words; "" for nothing.

    With ``stored`` False, the model is yet to be quantized.
    """
    from transformers.quantizers.auto import AutoHfQuantizer

    try:
        quantizer = AutoHfQuantizer.from_config(dict(held), pre_quantized=stored)
        quantizer.validate_environment(device_map={"": "cpu"}, weights_only=True)
    except Exception as error:  # every method has its own
        return first_line(error)
    return ""


_ARRANGES = "support_avx512bf16_for_cpu"
"""The attribute of bitsandbytes that lets a layer rearrange its weights, see `keep_layout`."""
ARRANGED_ROWS = 32
"""Rows that bitsandbytes 0.50 packs together (`functional._convert_weight_packed_for_cpu`)."""


def keep_odd_layouts(model: "PreTrainedModel") -> None:
    """`keep_layout` only for layers of odd sizes, which bitsandbytes cannot rearrange and would fail on."""
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if not hasattr(module, _ARRANGES) or state is None:
            continue
        if state.shape[0] % ARRANGED_ROWS or state.shape[-1] % int(state.blocksize):
            setattr(module, _ARRANGES, False)


def keep_layout(model: "PreTrainedModel") -> None:
    """Make bitsandbytes keep the layout of a model's 4-bit weights on a CPU.

    With AVX-512 BF16, the first pass in evaluation mode permanently rearranges them for another kernel, with
    scales rounded to bfloat16 and products in it. A training would continue with these.
    """
    for module in model.modules():
        if hasattr(module, _ARRANGES):
            setattr(module, _ARRANGES, False)


def dequantized(held: Held) -> "QuantizationConfigMixin | None":
    """The configuration with which transformers dequantizes a model on loading; None if it cannot."""
    kind = methods().get(str(held.get(METHOD)))
    if kind is None or "dequantize" not in settings_of(kind):
        return None
    return kind.from_dict({**held, "dequantize": True})  # type: ignore[no-any-return]


def can_be_plain(held: Held) -> bool:
    """Whether transformers can dequantize a model, on loading or afterwards."""
    method = str(held.get(METHOD))
    if method == BITSANDBYTES:
        return True
    kind = methods().get(method)
    return kind is not None and "dequantize" in settings_of(kind)
