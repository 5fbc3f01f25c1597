"""The dtypes of a run: ``auto`` is chosen by the machine that starts the run, and kept in the run's folder.

Another machine that continues the run uses what is kept, even where it would choose another: a dtype changes the
result, so it is a setting.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from fusionchat.artifacts import Json, read_json, write_json
from fusionchat.errors import ArtifactError, MachineError
from fusionchat.recipe.schema import Recipe

if TYPE_CHECKING:
    import torch

RESOLVED = "resolved.json"
NAMES = ("float32", "bfloat16", "float16")
NATIVE_BF16 = 8
"""The least major compute capability of an NVIDIA GPU that has bfloat16 (before, it is emulated and slow)."""

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


def dtype_here(device: str) -> str:
    """What ``auto`` is for a recipe's ``runtime.device`` on this machine.

    It is float32 on a CPU, and bfloat16 on a GPU that has it. A GPU that is named and not there counts as one that has:
    the plan of a run may be looked at elsewhere.
    """
    import torch

    if device == "auto":
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    if device == "cpu":
        return "float32"
    if device == "mps" or not torch.cuda.is_available():
        return "bfloat16"
    index = torch.device(device).index
    if index is not None and index >= torch.cuda.device_count():
        return "bfloat16"
    return "bfloat16" if torch.cuda.get_device_capability(index)[0] >= NATIVE_BF16 else "float32"


def auto_dtype(device: "torch.device") -> "torch.dtype":
    """What ``auto`` is on a device of this machine, where there is no run that keeps it."""
    import torch

    dtype: torch.dtype = getattr(torch, dtype_here(str(device)))
    return dtype


def torch_dtype(name: str, device: "torch.device", *, where: str) -> "torch.dtype":
    """A dtype by its name, tried on the device.

    Raises:
        MachineError: The device cannot compute in it.
    """
    import torch

    dtype: torch.dtype = getattr(torch, name)
    try:
        one = torch.ones(2, 2, dtype=dtype, device=device)
        float((one @ one).softmax(-1).sum())
    except (RuntimeError, TypeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise MachineError(
            f"This machine's {device.type} cannot compute in {name}",
            where=where,
            do=f"give another one (--set {where}={'fp32' if where == 'distill.precision' else 'float32'}); "
            "what depends on it is then made again. Or continue the run on a machine that can",
        ) from error
    return dtype
