"""Stage `unpack`: a pivot that is no ordinary folder of weights becomes one, in one job.

All later jobs read that folder: a merge reads weights by the headers of safetensors, and a training in fp32
needs plain weights. See docs/decisions/0008-unpacked-pivot.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from fusionchat.artifacts import Json
from fusionchat.console import progress
from fusionchat.errors import ModelError
from fusionchat.models.load import load_model
from fusionchat.models.packed import packed, require_unpackable
from fusionchat.models.ref import ModelRef
from fusionchat.models.tokenizer import copy_tokenizer
from fusionchat.run.estimate import capture_memory, parameters
from fusionchat.run.job import Context, Cost, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.settings import Frozen
from fusionchat.stages.corpus import make_renderer

VERSION = 1  # raised when the same settings and inputs give another output
DTYPE: Literal["float32"] = "float32"
"""Exact for all kinds of unpacked weights, and the dtype in which targets are trained and saved."""


class Settings(Frozen):
    """Everything that changes an unpacked model except its files.

    Attributes:
        model: The model's name.
        dtype: The dtype of the saved weights.
    """

    model: str
    dtype: Literal["float32"] = DTYPE


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan the job if the pivot is packed; later jobs then read its result as the pivot."""
    ref = run.refs["pivot"]
    if not packed(ref):
        return
    size = parameters(ref)
    job = run.add(
        "unpack",
        ref.name,
        Settings(model=ref.name),
        content=run.model(ref.name),
        cost=Cost(None if size is None else 4.0 * size, 0.0),
        memory=capture_memory(ref, DTYPE),
    )
    run.unpacked[ref.name] = job.id


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """Nothing, since an unfinished model is unpacked from the start."""
    return ""


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Write ``model/``: plain fp32 weights, with the tokenizer; raises what a merge would raise."""
    import torch

    from fusionchat.merge.inputs.rehearsal import rehearse

    ref, folder = inputs.model(settings.model), out / "model"
    require_unpackable(ref)
    with progress(inputs.job.label, None, "models") as advance:
        model = load_model(ref, dtype=torch.float32, device=torch.device("cpu"), plain=True)
        model.save_pretrained(folder)
        copy_tokenizer(ref, folder)
        advance(1)
    require_same_words(ref, ModelRef(ref.name, str(folder), str(folder)))
    return {"parameters": sum(p.numel() for p in model.parameters()), "notes": list(rehearse(folder))}


def require_same_words(ref: ModelRef, saved: ModelRef) -> None:
    """Raise ModelError if a saved tokenizer differs from the one that renders the corpus."""
    if make_renderer(ref).table.digest != make_renderer(saved).table.digest:
        raise ModelError(
            f"transformers saves the tokenizer of {ref.name!r} differently than it reads it",
            where=ref.tokenizer,
            do="set `tokenizer:` to the folder or hub id of the model's tokenizer",
        )
