"""Settings of the training of targets."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from fusionchat.distill.precision import Precision
from fusionchat.distill.trainable import Lora, Trains
from fusionchat.settings import Frozen, Grown


class TrainingSettings(Grown):
    """How a copy of the pivot is trained."""

    later: ClassVar[tuple[str, ...]] = ("train", "optim", "keep_best")

    epochs: float = Field(3, gt=0, description="passes over the training part; may be a fraction")
    batch_size: int = Field(128, ge=1, description="conversations per step, over all devices")
    learning_rate: float = Field(5e-6, gt=0, description="peak learning rate, reached after the warm-up")
    train: Trains = Field(
        "full",
        description="full: all parameters; lora: factors beside frozen matrices, and the target is an adapter; qlora: the same, "
        "the frozen matrices in 4 bits. `lora` alone is short for `{lora: {}}`",
    )
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = Field(
        "cosine", description="how the learning rate falls after the warm-up"
    )
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps spent on warm-up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    precision: Precision = Field(
        "bf16",
        description="fp32; bf16: passes in bf16, weights and the optimizer's state in fp32; bf16_weights: matrices in bf16, too. "
        "bf16 weights and copies of weights are rounded at random, so that passes see changes smaller than the spacing of bf16",
    )
    optim: str = Field(
        "adamw_torch_fused",
        description="optimizer, by transformers' name: `adamw_bnb_8bit` of bitsandbytes, `adamw_torch_8bit` of torchao, "
        "`adafactor`, `sgd`, ...",
    )
    keep_best: int | None = Field(
        None,
        ge=1,
        description=(
            "keep the best of these steps as the target, by bits per byte of the validation part: the last "
            "step, and every multiple of this number; unset: the last step"
        ),
    )

    @property
    def half(self) -> bool:
        """Whether passes compute in bf16."""
        return self.precision != "fp32"


class AdaptPivotSettings(Frozen):
    """What differs where the pivot's copy is fine-tuned; the rest is as for the sources."""

    train: Trains | None = Field(None, description="as `adapt.train`")
    epochs: float | None = Field(None, gt=0, description="passes over the training part; may be a fraction")
    learning_rate: float | None = Field(
        None, gt=0, description="peak learning rate; SFT's best is a good one with `train: full`"
    )


class AdaptSettings(TrainingSettings):
    """How sources are fine-tuned on the corpus's labels before they are captured (not in the paper)."""

    later: ClassVar[tuple[str, ...]] = (*TrainingSettings.later, "pivot")

    sources: tuple[str, ...] = Field(
        (), description="sources to adapt; empty for all that transformers captures"
    )
    pivot: AdaptPivotSettings | None = Field(
        None,
        description="take the pivot's own distributions from a fine-tuned copy, `{}` with the sources' settings: as published it "
        "wins no conversation against sources that have learned the text. Targets still start from the published pivot",
    )
    train: Trains = Field(
        Lora(),
        description="lora: factors beside frozen matrices; qlora: the same, the frozen matrices in 4 bits; full: all parameters",
    )
    epochs: float = Field(1, gt=0, description="passes over the training part; may be a fraction")
    batch_size: int = Field(8, ge=1, description="conversations per step, over all devices")
    learning_rate: float = Field(5e-4, gt=0, description="peak learning rate, reached after the warm-up")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps spent on warm-up")

    def training(self, name: str) -> TrainingSettings:
        """The settings of a model's training, by its name, with defaults that differ from those of targets."""
        own = {} if name != "pivot" or self.pivot is None else self.pivot.model_dump(exclude_none=True)
        return TrainingSettings(**{key: getattr(self, key) for key in TrainingSettings.model_fields} | own)


class SoftTrainingSettings(TrainingSettings):
    """How a copy of the pivot is trained on distributions."""

    label_weight: float = Field(
        0.9, ge=0, le=1, description="lambda: weight of the label against the distribution"
    )
    label_weight_end: float | None = Field(
        None,
        ge=0,
        le=1,
        description="lambda at the last step, reached linearly from `label_weight`; unset: it stays the same",
    )
    focus: float = Field(
        0.0,
        ge=0,
        description=(
            "weight each token by (1 - p)^focus, where p is the student's own probability of it, so that "
            "known tokens count little; 0: equal weights"
        ),
    )
    tail: Literal["bucket", "renormalize"] = Field(
        "bucket",
        description="mass outside the kept tokens: one more entry of the distribution, or left out and the rest scaled to 1",
    )


class DistillSettings(SoftTrainingSettings):
    """How the pivot is trained on fused distributions.

    The defaults are the paper's (section 4.1, arXiv 2402.16107v6).
    """

    sweep: tuple[float, ...] = Field(
        (), description="more label weights to try; the best on validation is used"
    )
    seeds: int = Field(
        1,
        ge=1,
        description=(
            "train every target this many times with different seeds, and merge the targets of each; the "
            "first seed's merge is the fused model; the others show the training noise"
        ),
    )

    @field_validator("sweep")
    @classmethod
    def _weights(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= weight <= 1 for weight in value):
            raise ValueError("every label weight must be between 0 and 1")
        if len(set(value)) != len(value):
            raise ValueError("a label weight is given twice")
        return value

    @property
    def label_weights(self) -> tuple[float, ...]:
        """All label weights that are trained, the recipe's own first."""
        return (self.label_weight, *(w for w in self.sweep if w != self.label_weight))

    def hard(self) -> TrainingSettings:
        """The settings of a training on the labels alone."""
        return TrainingSettings(**self.model_dump(include=set(TrainingSettings.model_fields)))

    def soft(self, label_weight: float) -> SoftTrainingSettings:
        """The settings of a training on distributions, with a given label weight."""
        own = self.model_dump(include=set(SoftTrainingSettings.model_fields))
        return SoftTrainingSettings(**own | {"label_weight": label_weight})
