"""Settings in mergekit's files: a value, a gradient over the layers, or either of them by filter."""

from dataclasses import dataclass

from fusionchat.merge.mergekit.kinds import Setting
from fusionchat.merge.mergekit.schema import Filter, Parameters, Value


@dataclass(frozen=True)
class Rule:
    """A setting as the file gives it, and its YAML path."""

    value: Value
    where: str

    def at(self, tensor: str, t: float) -> Setting | None:
        """The value for a tensor at the relative depth ``t`` in [0, 1]; None if no filter matches."""
        return _evaluate(self.value, tensor, t)


def rules_of(parameters: Parameters, where: str) -> dict[str, Rule]:
    """A mapping's settings by name; ``where`` is the mapping's YAML path."""
    return {name: Rule(value, f"{where}.{name}") for name, value in (parameters or {}).items()}


def _evaluate(value: Value, tensor: str, t: float) -> Setting | None:
    if not isinstance(value, tuple):
        return value
    numbers = [entry for entry in value if not isinstance(entry, Filter)]
    if numbers:
        place = t * (len(numbers) - 1)
        low = int(place)
        high = min(low + 1, len(numbers) - 1)
        return (1 - (place - low)) * numbers[low] + (place - low) * numbers[high]
    for entry in value:
        assert isinstance(entry, Filter)
        if entry.filter in (None, "*") or (tensor and entry.filter in tensor):
            return _evaluate(entry.value, tensor, t)
    return None
