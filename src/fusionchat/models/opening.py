"""`Opening`: how a model's weights are loaded, as a recipe's `capture:` says.

This file does not import torch.
"""

import re
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, JsonValue, field_validator

from fusionchat.settings import Frozen

Maps = Literal["auto", "balanced", "balanced_low_0", "sequential"]
METHOD = "quant_method"
SIZE = re.compile(r"\d+(\.\d+)?\s*[KMG]i?B", re.IGNORECASE)
"""A size as accelerate reads it."""


def with_known_map(value: object) -> object:
    """A valid `device_map`; raises ValueError otherwise."""
    if isinstance(value, dict) and all(isinstance(one, int | str) for one in value.values()):
        return value
    if value is not None and value not in get_args(Maps):
        raise ValueError(f"must be {', '.join(get_args(Maps))} or {{module: device}}, not {value!r}")
    return value


def with_sizes(value: object) -> object:
    """A valid `max_memory` with devices as texts (YAML reads device numbers as numbers).

    Raises:
        ValueError: A size is not valid.
    """
    if not isinstance(value, dict):
        return value
    for name, most in value.items():
        is_count = isinstance(most, int) and not isinstance(most, bool) and most >= 0
        if not is_count and not (isinstance(most, str) and SIZE.fullmatch(most.strip())):
            raise ValueError(
                f"{name} must have a size, such as 70GB, 70GiB or a number of bytes, not {most!r}"
            )
    return {str(name): most for name, most in value.items()}


AnyMap = Annotated[Maps | dict[str, int | str], BeforeValidator(with_known_map)]
Sizes = Annotated[dict[str, int | str], BeforeValidator(with_sizes)]


class Opening(Frozen):
    """How weights are loaded: unchanged on one device, unless the settings say otherwise.

    Attributes:
        quantization: The method and its settings, by transformers' names.
        device_map: Where modules go: a strategy, or the device of each.
        max_memory: The most memory of a device, by its number or ``cpu``; in bytes, or with a unit.
    """

    quantization: dict[str, JsonValue] | None = None
    device_map: AnyMap | None = None
    max_memory: Sizes | None = None

    @field_validator("quantization")
    @classmethod
    def _method(cls, value: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if value is not None and not isinstance(value.get(METHOD), str):
            raise ValueError(f"say which method it is: {{{METHOD}: bitsandbytes, load_in_4bit: true, ...}}")
        return value

    @property
    def most(self) -> dict[int | str, int | str] | None:
        """`max_memory` as accelerate takes it."""
        if self.max_memory is None:
            return None
        return {int(name) if name.isdigit() else name: most for name, most in self.max_memory.items()}


PLAIN = Opening()
"""Unchanged, on one device."""
