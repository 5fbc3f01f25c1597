"""Stage `adapt`: teachers are fine-tuned on the labels before their capture, if the recipe says so.

There is one job for each model.

A source that has never seen the corpus's style is a poor teacher of it, however much it knows: see
docs/results/real_chat.md. The published source does not change; its capture has the adapter on top. A model
that is trained whole is saved in the dtype of its capture: the same weights are probed, captured and evaluated.
The pivot may be a teacher, too (`adapt.pivot`): its distributions are learned as a source's are, and targets
still begin with the published pivot.
"""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.artifacts import Json
from fusionchat.distill.settings import AdaptSettings
from fusionchat.distill.trainable import FULL
from fusionchat.errors import RecipeError
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe
from fusionchat.represent.capture import DEFAULT
from fusionchat.run.estimate import training_cost
from fusionchat.run.plan import Run
from fusionchat.run.training_memory import training_memory
from fusionchat.stages import distill
from fusionchat.stages.corpus import tokens_file
from fusionchat.stages.names import CORPUS
from fusionchat.stages.variants import adapted

VERSION = 2  # raised when the same settings and inputs give another output
so_far, work = distill.so_far, distill.work


class Settings(distill.Settings):
    """Everything that changes the training of a teacher except the corpus and the teacher."""

    where: ClassVar[str] = "adapt"


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan one training for each model that is adapted; its capture then uses the result."""
    recipe, how = run.recipe, run.recipe.adapt
    if how is None:
        return
    require_captured_here(recipe, how)
    for name in adapted(recipe):
        ref, training = run.refs[name], how.training(name)
        require_trainable(ref)
        job = run.add(
            "adapt",
            name,
            Settings(
                distill=training,
                learns=None,
                seed=recipe.seed,
                micro_batch_tokens=recipe.runtime.micro_batch_tokens
                if distill.draws_masks(training)
                else None,
                model=name,
                saved=run.resolved.dtype("represent.dtype") if training.train == FULL else None,
            ),
            needs=(CORPUS,),
            reads={CORPUS: (tokens_file("train", name), *distill.held_out_files(training, name))},
            content=run.model(name),
            cost=training_cost(recipe, ref, training),
            memory=training_memory(recipe, ref, training),
            on_device=True,
            parallel="ranks",
        )
        run.adapted[name] = job.id


def require_captured_here(recipe: Recipe, how: AdaptSettings) -> None:
    """Raise RecipeError if transformers does not capture a model to be fine-tuned, or captures none."""
    for name in (*how.sources, *([] if how.pivot is None else ["pivot"])):
        backend = recipe.models[name].capture.backend
        if backend != DEFAULT.backend:
            raise RecipeError(
                f"{name} is captured by {backend}, which cannot use weights trained here",
                where="adapt.pivot" if name == "pivot" else "adapt.sources",
                do=f"set {'' if name == 'pivot' else 'sources.'}{name}.capture: {DEFAULT.backend}, or leave it out",
            )
    if not adapted(recipe):
        raise RecipeError(
            "adapt has nothing to train: transformers captures none of the sources",
            where="adapt",
            do=f"set capture: {DEFAULT.backend} for a source, or remove adapt",
        )


def require_trainable(ref: ModelRef) -> None:
    """Raise RecipeError if a source cannot be fine-tuned: a GGUF file, or a model with an adapter."""
    if ref.place.file is None and ref.adapter is None:
        return
    reason = "has an adapter already" if ref.adapter is not None else "is a GGUF file"
    raise RecipeError(
        f"{ref.name} {reason}, but adapt trains only models as published",
        where=ref.where,
        do=f"use the model alone, as a folder or hub id; or leave {ref.name} out of adapt",
    )
