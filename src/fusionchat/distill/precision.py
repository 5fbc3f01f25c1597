"""The precision of a training: fp32, bf16 passes of fp32 weights, or bf16 weights.

And the bytes that it needs.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from fusionchat.settings import Frozen, no_such

WEIGHTS = "bf16_weights"
PASSES = ("bf16", "fp32")
TAGS = ("a precision of passes", "bf16 weights")
"""The branches' names in pydantic's messages."""


class Rounding(Frozen):
    """How a step's result becomes a bf16 weight: rounded at random, so that passes see small changes."""

    rounding: Literal["kahan", "stochastic"] = Field(
        "kahan",
        description=(
            "kahan: the 16 bits that bf16 lacks are kept for each weight and are in the target; stochastic: "
            "they are dropped, and VaRM counts their noise in the target as change"
        ),
    )


class Bf16Weights(Frozen):
    """Matrices in bf16 instead of fp32; norms and biases stay in fp32."""

    bf16_weights: Rounding = Field(Rounding(), description="how they are rounded")


def from_word(value: object) -> object:
    """``bf16_weights`` is short for ``{bf16_weights: {}}``; raises ValueError for another word."""
    known = [*PASSES, WEIGHTS]
    if isinstance(value, str) and value not in known:
        raise ValueError(no_such("precision", value, known))
    return {WEIGHTS: {}} if value == WEIGHTS else value


def branch_of(value: object) -> str:
    """The tag of the branch that a value belongs to."""
    return TAGS[0] if isinstance(value, str) else TAGS[1]


Precision = Annotated[
    Annotated[Literal["bf16", "fp32"], Tag(TAGS[0])] | Annotated[Bf16Weights, Tag(TAGS[1])],
    Discriminator(branch_of),
    BeforeValidator(from_word),
]

MOMENTS = {
    "adafactor": 0.0, "sgd": 0.0, "adagrad": 4.0, "rmsprop": 4.0, "lion_32bit": 4.0, "paged_lion_32bit": 4.0,
    "adamw_torch_4bit": 1.1, "adamw_torch_8bit": 2.1, "adamw_bnb_8bit": 2.1, "adamw_8bit": 2.1, "paged_adamw_8bit": 2.1,
    "lion_8bit": 1.1, "paged_lion_8bit": 1.1, "rmsprop_bnb_8bit": 1.1,
}  # fmt: skip
"""Bytes of an optimizer's state per parameter, where they differ from AdamW's 8."""


def moments(optim: str) -> float:
    """Bytes of an optimizer's state per parameter; AdamW's for an unknown one."""
    return MOMENTS.get(optim, 8.0)


def compensation(precision: Precision) -> float:
    """Bytes of the compensation of a bf16 weight."""
    return 2.0 if isinstance(precision, Bf16Weights) and precision.bf16_weights.rounding == "kahan" else 0.0


def bytes_kept(precision: Precision, optim: str) -> float:
    """Bytes of a checkpoint per trained parameter: weight and optimizer state."""
    weight = 2.0 + compensation(precision) if isinstance(precision, Bf16Weights) else 4.0
    return weight + moments(optim)
