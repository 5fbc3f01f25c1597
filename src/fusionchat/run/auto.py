"""What ``auto`` means in a run: chosen by the machine that starts it, and saved in the run's folder.

Another machine that continues the run uses the saved values, even if it would choose others: a dtype and a
plan of batches change the result, so they are settings.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from fusionchat.artifacts import Json, read_json, write_json
from fusionchat.errors import ArtifactError
from fusionchat.models.precision import capture_dtype_here, device_here, dtype_here
from fusionchat.recipe.schema import Recipe
from fusionchat.represent.batching import batch_tokens_on
from fusionchat.run.estimate import parameters

RESOLVED = "resolved.json"
NAMES = ("float32", "bfloat16", "float16")
Dtype = Literal["represent.dtype", "evaluate.dtype"]
BATCH = "represent.batch_tokens"
Value = str | int


class Resolved(NamedTuple):
    """The settings of a recipe that may be ``auto``.

    Attributes:
        values: The value of each, with ``auto`` resolved.
        kept: The values in the run's folder, of settings that are ``auto`` in the recipe.
        here: The values that this machine would choose, of settings that are ``auto`` in the recipe.
    """

    values: Mapping[str, Value]
    kept: Mapping[str, Value]
    here: Mapping[str, Value]

    def dtype(self, setting: Dtype) -> str:
        """The value of a setting that is a dtype."""
        return str(self.values[setting])

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens of one forward pass of a capture."""
        return int(self.values[BATCH])

    def notices(self) -> list[str]:
        """One line for each setting for which this machine would choose another value than the run's."""
        return [
            f"{key}: auto is {value}, as when the run was started; this machine would choose {self.here[key]} "
            f"(set {key} to use that)"
            for key, value in self.kept.items()
            if value != self.here[key]
        ]

    def describe(self) -> str:
        """The settings that are auto with their values, in one line; "" if there are none."""
        return ", ".join(
            f"{key}: auto = {self.values[key]}{' (as when the run was started)' if key in self.kept else ''}"
            for key in self.here
        )


def resolve(recipe: Recipe) -> Resolved:
    """The settings of a recipe: as given, else as saved in the run's folder, else chosen here."""
    given: dict[str, Value] = {
        "represent.dtype": recipe.represent.dtype,
        BATCH: recipe.represent.batch_tokens,
        "evaluate.dtype": recipe.evaluate.dtype,
    }
    auto = [key for key, value in given.items() if value == "auto"]
    if not auto:
        return Resolved(given, {}, {})
    here = {key: _choose(key, recipe) for key in auto}
    kept = {key: value for key, value in _kept(recipe.run_folder).items() if key in here}
    return Resolved(given | here | kept, kept, here)


def _choose(key: str, recipe: Recipe) -> Value:
    """The value that this machine chooses for a setting."""
    device = recipe.runtime.device
    if key == BATCH:
        return batch_tokens_on(device_here(device))
    if key == "evaluate.dtype":
        return dtype_here(device)
    return capture_dtype_here(device, map(parameters, recipe.refs().values()))


def keep(folder: Path, resolved: Resolved) -> None:
    """Save what ``auto`` means in this run, unless it is saved already."""
    if resolved.here.keys() - resolved.kept.keys():
        held: dict[str, Json] = dict(_kept(folder))
        write_json(folder / RESOLVED, held | {key: resolved.values[key] for key in resolved.here})


def _kept(folder: Path) -> dict[str, Value]:
    path = folder / RESOLVED
    if not path.is_file():
        return {}
    try:
        held = read_json(path)
        return {key: _checked(key, value) for key, value in held.items()}
    except (ArtifactError, ValueError) as error:
        raise ArtifactError(
            "This file is damaged: it does not say what `auto` is in this run",
            where=str(path),
            do="remove it, and run again on the machine that started the run",
        ) from error


def _checked(key: str, value: Json) -> Value:
    """A value as `keep` wrote it; raises ValueError otherwise."""
    if key == BATCH and isinstance(value, int) and value >= 1:
        return value
    if key != BATCH and value in NAMES:
        return str(value)
    raise ValueError(key)
