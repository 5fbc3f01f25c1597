"""`Opening`: how a model's weights are brought into memory, as `capture:` of a recipe says it. Light: no torch."""

from typing import Literal

from pydantic import JsonValue, field_validator

from fusionchat.settings import Frozen

Maps = Literal["auto", "balanced", "balanced_low_0", "sequential"]
METHOD = "quant_method"


class Opening(Frozen):
    """How weights are brought into memory: as they are on one device, unless something else is asked for.

    Attributes:
        quantization: The method and its settings, by the names that transformers gives them.
        device_map: Where modules go: a way to find it out, or the device of each.
        max_memory: The most that a device may hold, by its number or ``cpu``; bytes, or with a unit.
    """

    quantization: dict[str, JsonValue] | None = None
    device_map: Maps | dict[str, int | str] | None = None
    max_memory: dict[str, int | str] | None = None

    @field_validator("quantization")
    @classmethod
    def _method(cls, value: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if value is not None and not isinstance(value.get(METHOD), str):
            raise ValueError(f"say which method it is: {{{METHOD}: bitsandbytes, load_in_4bit: true, ...}}")
        return value

    @field_validator("max_memory", mode="before")
    @classmethod
    def _devices(cls, value: object) -> object:
        """Numbers of devices are numbers in YAML and texts in JSON."""
        return {str(name): most for name, most in value.items()} if isinstance(value, dict) else value

    @property
    def most(self) -> dict[int | str, int | str] | None:
        """`max_memory` as accelerate takes it."""
        if self.max_memory is None:
            return None
        return {int(name) if name.isdigit() else name: most for name, most in self.max_memory.items()}


PLAIN = Opening()
"""As it is, on one device."""
