"""What ``auto`` is in a run: chosen by the machine that starts the run, and kept in the run's folder.

Another machine that continues the run uses what is kept, even where it would choose another: a dtype changes the
result, so it is a setting.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from fusionchat.artifacts import Json, read_json, write_json
from fusionchat.errors import ArtifactError
from fusionchat.models.precision import dtype_here
from fusionchat.recipe.schema import Recipe

RESOLVED = "resolved.json"
NAMES = ("float32", "bfloat16", "float16")
Setting = Literal["represent.dtype", "evaluate.dtype"]


class Dtypes(NamedTuple):
    """What models are loaded in.

    Attributes:
        values: The dtype of each setting, ``auto`` resolved.
        auto: The settings that are ``auto`` in the recipe.
        kept: Those of them whose value was found in the run's folder.
        here: What this machine would choose for ``auto``; "" where nothing is auto.
    """

    values: dict[str, str]
    auto: tuple[str, ...]
    kept: tuple[str, ...]
    here: str

    def of(self, setting: Setting) -> str:
        """The dtype of a setting."""
        return self.values[setting]

    def notices(self) -> list[str]:
        """One line for each setting for which this machine would choose another dtype than the run's."""
        return [
            f"{key}: auto is {self.values[key]}, as when the run was started; this machine would choose {self.here} "
            f"(set {key} to use that)"
            for key in self.kept
            if self.values[key] != self.here
        ]

    def describe(self) -> str:
        """The settings that are auto with what they are, in one line; "" where nothing is auto."""
        return ", ".join(
            f"{key}: auto = {self.values[key]}{' (as when the run was started)' if key in self.kept else ''}"
            for key in self.auto
        )


def resolve_dtypes(recipe: Recipe) -> Dtypes:
    """The dtypes of a recipe: as given, else as kept in the run's folder, else what suits this machine."""
    given: dict[str, str] = {
        "represent.dtype": recipe.represent.dtype,
        "evaluate.dtype": recipe.evaluate.dtype,
    }
    auto = tuple(key for key, value in given.items() if value == "auto")
    if not auto:
        return Dtypes(given, (), (), "")
    held, here = _kept(recipe.run_folder), dtype_here(recipe.runtime.device)
    values = {key: held.get(key, here) if key in auto else value for key, value in given.items()}
    return Dtypes(values, auto, tuple(key for key in auto if key in held), here)


def keep_dtypes(folder: Path, dtypes: Dtypes) -> None:
    """Write down what ``auto`` is in this run, where that is not written yet."""
    if any(key not in dtypes.kept for key in dtypes.auto):
        held: dict[str, Json] = dict(_kept(folder))
        write_json(folder / RESOLVED, held | {key: dtypes.values[key] for key in dtypes.auto})


def _kept(folder: Path) -> dict[str, str]:
    path = folder / RESOLVED
    if not path.is_file():
        return {}
    try:
        held = {key: str(value) for key, value in read_json(path).items()}
    except ArtifactError:
        held = {"": ""}
    if any(value not in NAMES for value in held.values()):
        raise ArtifactError(
            "This file is damaged: it does not say what `auto` is in this run",
            where=str(path),
            do="remove it, and run again on the machine that started the run",
        )
    return held
