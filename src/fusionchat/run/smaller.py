"""What to change if a training does not fit: the first settings with which it does, in words."""

from collections.abc import Iterator, Sequence

from fusionchat.distill.precision import Bf16Weights
from fusionchat.distill.settings import TrainingSettings
from fusionchat.distill.trainable import FULL, Lora, Qlora
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe
from fusionchat.run.training_memory import training_memory
from fusionchat.units import size

CHECKPOINTING = ("runtime.gradient_checkpointing: true",)
FSDP2 = ("runtime.training.strategy: fsdp2",)
NARROW = ("precision: bf16_weights", "optim: adamw_bnb_8bit")
LORA, QLORA = ("train: lora",), ("train: qlora",)
SHORT = "runtime.micro_batch_tokens"
CHANGES: dict[str, dict[str, object]] = {
    NARROW[0]: {"precision": Bf16Weights()}, NARROW[1]: {"optim": "adamw_bnb_8bit"}, LORA[0]: {"train": Lora()},
    QLORA[0]: {"train": Qlora()},
}  # fmt: skip
"""The training's settings among them."""
WAYS = (
    CHECKPOINTING, FSDP2, CHECKPOINTING + FSDP2, NARROW, CHECKPOINTING + NARROW, LORA, CHECKPOINTING + LORA, QLORA,
    CHECKPOINTING + QLORA,
)  # fmt: skip
"""Ways to make a training smaller; those that change its result least come first."""


def smaller(
    recipe: Recipe, ref: ModelRef, how: TrainingSettings, where: str, *, ranks: int, gpu: bool, has: float
) -> str:
    """The first of `WAYS` with which a training fits, in words; if none does, what else can be done.

    Args:
        recipe: The recipe.
        ref: The model that is trained.
        how: The settings of the training.
        where: The recipe's key of these.
        ranks: The number of processes.
        gpu: Whether the memory is a GPU's.
        has: Bytes of memory of each of them.
    """
    for words, changed, trained in changes(recipe, how, ranks):
        needs = training_memory(changed, ref, trained, ranks=ranks, gpu=gpu)
        if needs is not None and needs <= has:
            named = [one if one.startswith("runtime.") else f"{where}.{one}" for one in words]
            return f"set {' and '.join(named)}: {size(needs)}"
    longest = recipe.corpus.max_tokens
    return f"lower corpus.max_tokens ({longest}) and with it {SHORT}, or use a smaller model or more memory"


def changes(
    recipe: Recipe, how: TrainingSettings, ranks: int
) -> Iterator[tuple[Sequence[str], Recipe, TrainingSettings]]:
    """Settings to try, as written in a recipe, with the recipe and the training's settings.

    Shorter passes come first.
    """
    longest = recipe.corpus.max_tokens
    short = recipe.model_copy(
        update={"runtime": recipe.runtime.model_copy(update={"micro_batch_tokens": longest})}
    )
    can_be = recipe.runtime.micro_batch_tokens > longest
    if can_be:
        yield (f"{SHORT}: {longest}",), short, how
    for way in WAYS:
        if way == FSDP2 and ranks == 1:
            continue
        changed = with_settings(recipe, how, way)
        if changed is None:
            continue
        yield way, *changed
        if can_be and (shorter := with_settings(short, how, way)) is not None:
            yield (*way, f"{SHORT}: {longest}"), *shorter


def with_settings(
    recipe: Recipe, how: TrainingSettings, way: Sequence[str]
) -> tuple[Recipe, TrainingSettings] | None:
    """The recipe and training with settings of `WAYS`; None if they have them already or they conflict."""
    runtime, first = recipe.runtime, (recipe.runtime, how)
    for setting in way:
        if setting in CHECKPOINTING:
            if runtime.gradient_checkpointing:
                return None
            runtime = runtime.model_copy(update={"gradient_checkpointing": True})
        elif setting in FSDP2:
            if isinstance(how.train, Qlora) or isinstance(how.precision, Bf16Weights):
                return None
            shared = runtime.training.model_copy(update={"strategy": "fsdp2"})
            runtime = runtime.model_copy(update={"training": shared})
        elif not _go_together(setting, how, runtime.training.strategy):
            return None
        else:
            how = how.model_copy(update=CHANGES[setting])
    return None if (runtime, how) == first else (recipe.model_copy(update={"runtime": runtime}), how)


def _go_together(setting: str, how: TrainingSettings, strategy: str) -> bool:
    if setting in LORA:
        return how.train == FULL
    if setting in QLORA:
        return not isinstance(how.train, Qlora) and strategy != "fsdp2"
    return how.train == FULL and strategy != "fsdp2"
