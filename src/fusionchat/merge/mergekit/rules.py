"""Settings in mergekit's files: a value, a gradient over the layers, or either of them by filter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fusionchat.errors import RecipeError
from fusionchat.merge.mergekit.kinds import Setting

Value = bool | int | float | str | None | list["Value"] | dict[str, "Value"]
"""What YAML can say."""


@dataclass(frozen=True)
class Rule:
    """A setting as the file gives it: a value, a gradient over the layers, or a list of either by filter."""

    value: Value
    where: str

    def at(self, tensor: str, t: float) -> Setting | None:
        """The value for a tensor at the relative depth ``t``; None where no filter matches."""
        return _evaluate(self.value, tensor, t, self.where)


def rules_of(value: Value, where: str) -> dict[str, Rule]:
    """A mapping's settings by name; raises RecipeError where one cannot be read."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RecipeError("Parameters must be a mapping", where=where, do="give names and values")
    rules = {name: Rule(setting, f"{where}.{name}") for name, setting in value.items()}
    for rule in rules.values():
        rule.at("", 0.0)
    return rules


def _evaluate(value: Value, tensor: str, t: float, where: str) -> Setting | None:
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        for entry in value:
            assert isinstance(entry, dict)
            only_keys(entry, {"filter", "value"}, where)
            pattern = entry.get("filter")
            if pattern is None or pattern == "*" or (tensor and str(pattern) in tensor):
                return _evaluate(entry.get("value"), tensor, t, where)
        return None
    if isinstance(value, list) and value:
        numbers = [_number(entry, where) for entry in value]
        place = t * (len(numbers) - 1)
        low = int(place)
        high = min(low + 1, len(numbers) - 1)
        return (1 - (place - low)) * numbers[low] + (place - low) * numbers[high]
    return value if isinstance(value, bool) else _number(value, where)


def _number(value: Value, where: str) -> float:
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)  # a number in quotes
    except ValueError:
        pass
    raise RecipeError(
        f"This is not a number: {value!r}", where=where, do="give a number, a list of numbers, or filters"
    )


def only_keys(mapping: Mapping[str, Value], known: Iterable[str], where: str) -> None:
    """Raise RecipeError where a mapping has a key that is not known."""
    for key in mapping:
        if key not in known:
            place = f"{where}.{key}" if where else str(key)
            raise RecipeError(
                "This key is unknown or not supported", where=place, do=f"use: {', '.join(sorted(known))}"
            )
