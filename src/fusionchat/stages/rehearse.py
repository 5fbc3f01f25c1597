"""Cheap checks after the corpus and before the first capture.

They find what would otherwise stop the run hours later.

The corpus needs no weights, so a broken template or record can be found before the weights are downloaded.
"""

import shutil
from collections.abc import Sequence
from contextlib import closing

from fusionchat.console import warn
from fusionchat.distill.precision import Bf16Weights
from fusionchat.distill.settings import TrainingSettings
from fusionchat.distill.trainable import FULL
from fusionchat.errors import MergeError, ModelError
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.merge.inputs.files import is_without_weights, opens_in_transformers
from fusionchat.merge.inputs.header import UnknownTypeError
from fusionchat.merge.inputs.rehearsal import rehearse as rehearse_merge
from fusionchat.models.gguf import require_readable
from fusionchat.models.ref import ModelRef
from fusionchat.run.estimate import most_disk
from fusionchat.run.job import Job
from fusionchat.run.plan import Run
from fusionchat.stages.merge_targets import merged_from
from fusionchat.stages.openable import require_openable
from fusionchat.stages.variants import opened_sources
from fusionchat.units import size

REHEARSED = ("represent", "align", "fuse", "distill", "answer", "merge")


def rehearse(run: Run, jobs: Sequence[Job]) -> None:
    """Check the weights that the jobs will read, the merge after the training, and the free disk space.

    Raises:
        ModelError: A model's weights are missing, cut short or damaged, or `distill.train` does not fit the
            pivot.
        RecipeError: The optimizer, or a program that a training reports to, is not available.
        MergeError: What is trained of the pivot could not be merged.
    """
    todo = [job for job in jobs if run.status(job).state != "done"]
    elsewhere = run.recipe.sources.keys() - opened_sources(run.recipe)
    for ref in run.refs.values():
        if ref.name not in elsewhere and any(f"model {ref.name}" in job.inputs for job in todo):
            require_openable(ref, run.recipe.models[ref.name].capture.opening)
            require_weights(ref)
    if any(job.stage in REHEARSED for job in todo):
        rehearse_when_unpacked(run)
    trains = any(job.stage == "distill" for job in todo)
    if trains:
        require_trainable(run.recipe.distill, run.recipe.runtime.training.report_to)
        require_factors(run.recipe.distill, run.refs["pivot"], "distill")
    if run.recipe.adapt is not None and any(job.stage == "adapt" for job in todo):
        require_trainable(run.recipe.adapt, run.recipe.runtime.training.report_to)
        for name in run.adapted:
            require_factors(run.recipe.adapt.training(name), run.refs[name], "adapt")
    need, free = most_disk([job.cost for job in todo]), shutil.disk_usage(run.folder).free
    if need is not None and need > free:
        warn(
            f"{run.folder}: this run may need {size(need)} of disk (a rough estimate), and {size(free)} are free"
        )


def require_trainable(how: TrainingSettings, report_to: Sequence[str]) -> None:
    """Raise RecipeError if an optimizer, or a program that a training reports to, is not available."""
    if report_to:
        from fusionchat.distill.reporting import require_reporters

        require_reporters(report_to)
    if "optim" in how.model_fields_set:
        from fusionchat.distill.per_matrix import require_optimizer

        require_optimizer(how.optim, narrow=isinstance(how.precision, Bf16Weights))


def require_factors(how: TrainingSettings, ref: ModelRef, where: str) -> None:
    """Raise ModelError if factors do not fit a model; ``where`` is the recipe's key of the settings."""
    if how.train != FULL:
        from fusionchat.distill.lora import require_fitting

        require_fitting(ref, how.train, f"{where}.train")


def rehearse_when_unpacked(run: Run) -> None:
    """Check the merge after the training; a pivot that must be unpacked is checked once it is."""
    unpacking = run.unpacked.get("pivot")
    if unpacking is None or run.status(run.jobs[unpacking]).state == "done":
        rehearse_pivot(run.read("pivot"))


def rehearse_pivot(pivot: ModelRef) -> list[str]:
    """Notes on the pivot before the first capture; raises MergeError if no merge could be made."""
    return rehearse_merge(merged_from(pivot.place))


def require_weights(ref: ModelRef) -> None:
    """Check that transformers can find and read a local model's weights, from the headers of its files.

    A model on the hub is not checked. Dtypes that only a merge cannot read are no error.

    Raises:
        ModelError: There are no weights, a file is missing, cut short or damaged.
    """
    folder = ref.place.path
    if folder is None:
        return
    if ref.place.file is not None:
        require_readable(folder / ref.place.file)
        return
    if is_without_weights(folder):
        raise ModelError(
            f"There are no weights of {ref.name!r} in this folder",
            where=str(folder),
            do=f"download the whole model, or correct {ref.where}.model in the recipe",
        )
    try:
        with closing(open_checkpoint(folder, allow_pickle=True)):
            pass
    except UnknownTypeError:
        pass
    except MergeError as error:
        raise ModelError(
            f"The weights of {ref.name!r} cannot be read: {error.what[0].lower()}{error.what[1:]}",
            where=error.where,
            do=error.do,
        ) from error
    if ref.name != "pivot" and not opens_in_transformers(folder):
        raise ModelError(
            f"transformers finds no weights of {ref.name!r} in this folder: they have no index, or other names",
            where=str(folder),
            do="save it again: fusionchat merge --pivot THIS --method passthrough --dtype DTYPE --out DIR",
        )
