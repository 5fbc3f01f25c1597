"""What the merging stages share: the inputs of every merge, and a merge of targets with the pivot."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from fusionchat.console import Advance, ignore
from fusionchat.damage import verified_folder
from fusionchat.hub import Place
from fusionchat.merge.inputs.references import folder_of
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.settings import FusedSettings
from fusionchat.models.identity import folder_identity
from fusionchat.models.ref import ModelRef
from fusionchat.models.tokenizer import copy_tokenizer
from fusionchat.run.job import Content
from fusionchat.run.plan import Run
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages.noise import warn_of_noise


def read_by_merges(run: Run, methods: Iterable[MergeMethod]) -> Content:
    """What merges read besides the targets: the pivot, and the files that methods name."""
    folders = {folder for method in methods for folder in method.auxiliary()}
    files = {folder: folder_identity(Path(folder)) for folder in sorted(folders)}
    return run.model("pivot") | run.generation("pivot") | Content(files)


def merge_into(
    pivot: ModelRef,
    targets: Mapping[str, Path],
    method: MergeMethod,
    out: Path,
    *,
    fused: FusedSettings,
    runtime: RuntimeSettings,
    advance: Advance = ignore,
) -> None:
    """Merge models into ``model/`` of a job's folder, with the pivot's tokenizer."""
    from fusionchat.merge.stream.merge import merge_models

    merge_models(
        merged_from(pivot.place),
        targets,
        method,
        out / "model",
        dtype=fused.dtype,
        shard_bytes=int(fused.shard_gb * 1e9),
        threads=runtime.threads,
        overwrite=True,
        embeddings="rows",
        allow_pickle=True,  # transformers has opened the pivot's in the same way
        progress=advance,
    )
    copy_tokenizer(pivot, out / "model")
    warn_of_noise(method, targets, out / "model")


def models_in(folders: Mapping[str, Path]) -> dict[str, Path]:
    """The models of jobs' folders by name, each as it was written."""
    return {name: verified_folder(folder / "model") for name, folder in folders.items()}


def merged_from(place: Place) -> Path:
    """The folder of a model with everything that a merge reads, downloaded if necessary."""
    folder = folder_of(place, allow_pickle=True)
    return verified_folder(folder) if place.path is not None else folder  # it may belong to another run
